"""Named tuples, dataclasses and registered classes: what comes back as itself, as a stand-in, or not at all."""

import dataclasses
import json
import sys
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import optim
from funcnet.checkpoint.trees.one_file import STRUCTURE
from tests.checkpoint.same import assert_same


class Point(NamedTuple):
    x: Any
    y: Any = 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Layer:
    weight: Any
    name: str = field(default="layer", metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass
class WithFunction:
    weight: Any
    apply: Any = field(default=None, metadata={"static": True})


@jax.tree_util.register_pytree_with_keys_class
class Custom:
    def __init__(self, a, b):
        self.a, self.b = a, b

    def tree_flatten_with_keys(self):
        return [
            (jax.tree_util.GetAttrKey("a"), self.a),
            (jax.tree_util.GetAttrKey("b"), self.b),
        ], "static"

    @classmethod
    def tree_unflatten(cls, static, children):
        return cls(*children)


@dataclass
class Plain:
    weight: Any


def saved(tmp_path, tree):
    return fn.checkpoint.save(tmp_path / "a.safetensors", tree)


def test_funcnets_own_come_back_as_themselves(tmp_path):
    net = fn.functionalize(fn.nn.Linear(2, 2))
    run = fn.training.TrainState.create(net, optim.adamw(0.1), jax.random.key(0))
    tree = {"run": run, "sparse": optim.RowSparse(jnp.arange(2), jnp.ones((2, 1)))}
    back = fn.checkpoint.load(saved(tmp_path, tree))
    assert_same(back, tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)


def test_given_classes_come_back_as_themselves(tmp_path):
    tree = [Point(1, jnp.ones(2)), Layer(np.ones(1), "first"), {"deep": Point(Layer(None), 2)}]
    path = saved(tmp_path, tree)
    assert_same(fn.checkpoint.load(path, classes=[Point, Layer]), tree)
    assert_same(fn.checkpoint.load(path, tree), tree)


def test_others_come_back_as_named_tuples_of_the_same_name_and_fields(tmp_path):
    path = saved(tmp_path, [Point(1, jnp.ones(2)), Layer(np.ones(1), "first")])
    point, layer = fn.checkpoint.load(path)
    assert type(point).__name__ == "Point"
    assert type(point) is not Point
    assert point._asdict().keys() == {"x", "y"}
    assert type(layer).__name__ == "Layer"
    assert layer.name == "first"
    again = fn.checkpoint.load(path)
    assert jax.tree.structure(again) == jax.tree.structure([point, layer])


def test_a_dataclass_with_a_function_needs_a_template_to_be_itself(tmp_path):
    tree = {"model": WithFunction(jnp.ones(1), apply=lambda x: x)}
    path = saved(tmp_path, tree)
    back = fn.checkpoint.load(path, {"model": WithFunction(jnp.zeros(1), apply=max)})
    assert back["model"].apply is max
    assert float(back["model"].weight[0]) == 1
    assert fn.checkpoint.load(path)["model"]._fields == ("weight",)
    with pytest.raises(
        ValueError, match=r"model\.apply could not be saved.*load\(path, like=tree\)"
    ):
        fn.checkpoint.load(path, classes=[WithFunction])


def test_registered_classes_need_a_template(tmp_path):
    tree = {"c": Custom(jnp.ones(1), {"x": 2}), "w": jnp.ones(2)}
    path = saved(tmp_path, tree)
    back = fn.checkpoint.load(path, {"c": Custom(jnp.zeros(1), {"x": 0}), "w": jnp.zeros(2)})
    assert type(back["c"]) is Custom
    assert (float(back["c"].a[0]), back["c"].b) == (1, {"x": 2})
    with pytest.raises(
        ValueError, match=r"c is of class .*:Custom, which only a template can make"
    ):
        fn.checkpoint.load(path)
    assert_same(fn.checkpoint.load(path, select="w"), {"w": tree["w"]})


def test_objects_that_jax_does_not_know_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"a\.0 is a .*Plain, which cannot be saved"):
        saved(tmp_path, {"a": [Plain(jnp.ones(1))]})


def test_a_class_that_changed_says_so(tmp_path):
    path = saved(tmp_path, {"p": Point(1, 2)})
    changed = namedtuple("Point", "x z")
    changed.__module__, changed.__qualname__ = Point.__module__, "Point"
    with pytest.raises(
        ValueError, match=r"p was saved as .*:Point with fields x, y; the class does not"
    ):
        fn.checkpoint.load(path, classes=[changed])


def renamed(tmp_path, of, kind="namedtuple"):
    """A file that names a class of the attacker's choice."""
    structure = {"version": 1, "tree": {kind: [["args", "echo pwned"]], "of": of}}
    return fn.checkpoint.save_arrays(
        tmp_path / "evil.safetensors", {}, {STRUCTURE: json.dumps(structure)}
    )


@pytest.mark.parametrize("kind", ["namedtuple", "dataclass"])
@pytest.mark.parametrize(
    "of",
    [
        "os:system",
        "subprocess:Popen",
        "antigravity:x",
        "funcnet.checkpoint.__main__:_run",
        "funcnet.core.files:os.system",
        "funcnet.data.loading.loader:DataLoader",
        "funcnet.checkpoint.trees.containers:Opened",
        "funcnet.checkpoint.runs.directory:shutil",
        "__import__('os'):system",
        ":",
        "x y:lambda: 0",
    ],
)
def test_no_name_in_a_file_is_imported_or_called(tmp_path, of, kind):
    before = {*sys.modules}
    back = fn.checkpoint.load(renamed(tmp_path, of, kind))
    assert back._asdict() == {"args": "echo pwned"}
    assert isinstance(back, tuple)
    assert {*sys.modules} == before


def test_static_fields_keep_their_values(tmp_path):
    state = optim.adamw(optim.schedules.cosine(1.0, 9)).init({"w": jnp.ones(2)})
    back = fn.checkpoint.load(saved(tmp_path, state))
    assert back.hyper.scheduled == state.hyper.scheduled == ("lr",)
    assert dataclasses.replace(back.hyper, values=None) == dataclasses.replace(
        state.hyper, values=None
    )
