"""Layers by the scopes that JAX notes, axes by groups of devices."""

import pytest

from funcnet import parallel
from funcnet.parallel.plans.device_groups import axes_of, read_groups
from funcnet.parallel.plans.origins import layer_of, without_numbers

LAYERS = {
    "jit(step)/jvp(GPT2)/transformer/transformer.h.0/transformer.h.0.attn/dot_general": "transformer.h.0.attn",
    "jit(step)/transpose(jvp(Net))/blocks/while/body/closed_call/Block/mlp/mul": "blocks.module.mlp",
    "jit(step)/jvp(Net)/blocks/while/body/eval_jaxpr/rematted_computation/Block/mlp/mul": "blocks.module.mlp",
    "jit(step)/jvp(Repeat)/while/body/closed_call/Linear/dot_general": "module",
    "jit(step)/jvp(Repeat)/while/body/closed_call/Block/1/mul": "module.1",
    "jit(step)/jvp(Net)/outer/while/body/closed_call/Repeat/while/body/closed_call/Linear/mul": "outer.module.module",
    "jit(step)/jvp(Net)/members/vmap(Linear)/dot_general": "members.module",
    "jit(step)/(jvp(Net)/a.b/mul:jvp(Net)/a.c/mul)": "a",
    "jit(step)/(jvp(Net)/a/mul:jvp(Net)/b/mul:jvp()/mul)": "a … b",
    "jit(step)/jvp(Net)/a/mul;jit(step)/jvp(Net)/b/mul": "a",
    "jit(step)/transpose(jvp(Net))/a/a.b/jvp(Net)/a/a.b/checkpoint/rematted_computation/mul": "a.b",
    "jit(step)/jvp(Net)/a/ntd,dkf->kntf/dot_general": "a",
    "jit(step)/jvp()/reduce_sum": "",
    "jit(step)/mul": "",
    "run.params['0']['weight']": "run.params.0.weight",
    "batch[0]": "batch.0",
    "broadcast.19": "broadcast.19",
    "": "",
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    assert layer_of(name) == LAYERS[name]


def test_numbers_become_stars():
    assert without_numbers("h.10.attn2.3") == "h.*.attn2.*"


MESH = parallel.mesh(data=2, model=2)
GROUPS = {
    "replica_groups={{0,2},{1,3}}": ("data",),
    "replica_groups={{1,0},{3,2}}": ("model",),
    "replica_groups={{0,1,2,3}}": ("data", "model"),
    "replica_groups={}": ("data", "model"),
    "": ("data", "model"),
    "replica_groups=[2,2]<=[2,2]T(1,0)": ("data",),
    "replica_groups=[1,4]<=[4]": ("data", "model"),
    "replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=2] {'axis_2'}": ("model",),
    "replica_groups=mesh[axis_0=2,axis_1=2] {axis_0,axis_1}": ("data", "model"),
    "replica_groups=mesh['a'=2,'b'=2], device_ids=(3,2,1,0) {'a'}": ("data",),
    "replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}": ("model",),
    "replica_groups=mesh['a'=2,'b'=2], device_ids=(some other form) {'a'}": None,
    "replica_groups={{0,3},{1,2}}": None,
    "source_target_pairs={{0,1},{1,0},{2,3},{3,2}}": ("model",),
    "source_target_pairs={{0,2},{2,0}}": ("data",),
    "source_target_pairs={{0,0},{1,2},{2,1},{3,3}}": ("data", "model"),
}


@pytest.mark.parametrize("text", GROUPS)
def test_groups_are_named_by_axes(text):
    found = read_groups(f"all-reduce(%x), {text}, to_apply=%add", 4)
    assert axes_of(found, MESH) == GROUPS[text]
    assert found.size == (4 if GROUPS[text] == ("data", "model") and not found.pairs else 2)
    assert axes_of(found, None) is None
