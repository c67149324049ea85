"""Partial loads read only what they are asked for; names tell every leaf from every other."""

from collections import OrderedDict, namedtuple

import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import optim
from funcnet.checkpoint.files.stored_array import StoredArray
from tests.checkpoint.same import assert_same

Pair = namedtuple("Pair", "first second")

TREE = {
    "encoder": {"w": jnp.ones(3), "b": np.zeros(2), "depth": 2},
    "head": {"w": jnp.ones((2, 2)), "list": [jnp.ones(1), 5], "pair": Pair(jnp.zeros(1), 1)},
    "empty": {},
}


@pytest.fixture
def path(tmp_path):
    return fn.checkpoint.save(tmp_path / "a.safetensors", TREE)


@pytest.fixture
def read(monkeypatch):
    """The names of the arrays whose bytes are looked at."""
    names = []
    view = StoredArray.view

    def counted(self):
        names.append(self.name.rpartition(": ")[2])
        return view(self)

    monkeypatch.setattr(StoredArray, "view", counted)
    return names


def test_only_what_is_selected_is_read(path, read):
    tree = fn.checkpoint.load(path, select="encoder.*")
    assert_same(tree, {"encoder": TREE["encoder"]})
    assert sorted(read) == ["encoder.b", "encoder.w"]


def test_several_patterns_and_other_containers(path, read):
    tree = fn.checkpoint.load(path, select=["*.list.1", "head.pair.first"], classes=[Pair])
    assert_same(tree, {"head": {"list": [None, 5], "pair": Pair(jnp.zeros(1), None)}})
    assert read == ["head.pair.first"]


def test_with_a_template_the_rest_stays(path, read):
    like = {"encoder": {"w": jnp.zeros(3), "b": np.ones(2), "depth": 9}, "other": jnp.ones(7)}
    tree = fn.checkpoint.load(path, like, select="encoder.w")
    assert_same(tree, {**like, "encoder": {**like["encoder"], "w": TREE["encoder"]["w"]}})
    assert tree["other"] is like["other"]
    assert read == ["encoder.w"]


def test_a_pattern_that_matches_nothing_raises(path):
    with pytest.raises(ValueError, match=r"'decoder\.\*' matches no path; there are: encoder\.w"):
        fn.checkpoint.load(path, select="decoder.*")


def test_nothing_is_read_to_say_what_does_not_fit(path, read):
    with pytest.raises(fn.errors.TreeMismatchError):
        fn.checkpoint.load(path, {**TREE, "more": jnp.ones(1)})
    assert read == []


COLLIDING = {
    "dots": {"a.b": 1, "a": {"b": 2, "b.c": 3}, "a.b.c": 4, "a\\": {"b": 5}, "a\\.b": 6},
    "kinds": {
        0: 1,
        "0": 2,
        "(0)": 3,
        None: 4,
        "None": 5,
        True: 6,
        2.5: 7,
        (1,): 8,
        "": 9,
        "\\e": 10,
    },
    "containers": [{"0": 1}, (2,), OrderedDict({"0": 3})],
    "surrogates": {"\ud800": 1, "\\ud800": 2},
    "reserved": {"__metadata__": 1, "value": 2, "format": 3},
    "slots": optim.RuleState(
        1, 2, {"step": 3, "hyper": {"values": 4}, "memory": 5, "x": 6}, {"x": 7}
    ),
}


@pytest.mark.parametrize("leaf", [np.float32, int], ids=["arrays", "values"])
@pytest.mark.parametrize("name", COLLIDING)
def test_names_do_not_collide(tmp_path, name, leaf):
    def with_leaves(node):
        if isinstance(node, dict):
            return type(node)((key, with_leaves(child)) for key, child in node.items())
        if isinstance(node, list | tuple):
            children = [with_leaves(child) for child in node]
            return type(node)(*children) if hasattr(node, "_fields") else type(node)(children)
        return leaf(node)

    tree = with_leaves(COLLIDING[name])
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree)
    assert_same(fn.checkpoint.load(path), tree)
    assert_same(fn.checkpoint.load(path, tree), tree)


def test_names_read_well(tmp_path):
    params = {"blocks": [{"weight": jnp.ones((2, 2))}]}
    state = optim.adamw(1e-3).init(params)
    path = fn.checkpoint.save(tmp_path / "a.safetensors", {"params": params, "opt_state": state})
    assert sorted(fn.checkpoint.load_arrays(path)) == [
        "opt_state.exp_avg.blocks.0.weight",
        "opt_state.exp_avg_sq.blocks.0.weight",
        "opt_state.hyper.values",
        "opt_state.step",
        "params.blocks.0.weight",
    ]
