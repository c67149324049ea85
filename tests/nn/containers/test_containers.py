"""Containers as sequences and mappings, as descriptions and bound."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn


def _linears(*sizes):
    return [nn.Linear(size, size) for size in sizes]


def _sizes(container):
    return [layer.in_features for layer in container]


def _names(module):
    params, _ = jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))
    return list(fn.state_dict(module, params))


def test_sequential_is_a_sequence():
    model = nn.Sequential(*_linears(1, 2, 3))
    assert len(model) == 3
    assert model[0].in_features == 1
    assert model[-1].in_features == 3
    assert _sizes(model[1:]) == [2, 3]
    assert _sizes(model.append(nn.Linear(4, 4))) == [1, 2, 3, 4]
    assert _sizes(model.insert(0, nn.Linear(9, 9))) == [9, 1, 2, 3, 4]
    assert model.pop(1).in_features == 1
    del model[0]
    model[-1] = nn.Linear(7, 7)
    assert _sizes(model) == [2, 3, 7]
    assert _names(model)[::2] == ["0.weight", "1.weight", "2.weight"]
    assert _sizes(model + nn.Sequential(nn.Linear(5, 5))) == [2, 3, 7, 5]
    del model[:2]
    assert _sizes(model) == [7]
    model.extend(_linears(8, 9))
    assert _names(model[1:])[0] == "1.weight"


def test_sequential_by_name_keeps_names():
    model = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), last=nn.Linear(3, 1)))
    assert _names(model) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert model.first is model[0]
    assert _names(model[1:]) == ["last.weight", "last.bias"]


def test_repeating_shares_parameters():
    shared = nn.Sequential(nn.Linear(2, 2)) * 3
    params, _ = fn.functionalize(shared).init(jax.random.key(0))
    assert list(params) == ["0"]
    assert len(_names(shared)) == 6


def test_attributes_of_a_subclass_are_not_parts():
    class Block(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(2, 3), nn.Linear(3, 1))
            self.width = 3

    assert len(Block()) == 2


def test_a_slice_of_a_bound_sequence_computes():
    model = nn.Sequential(*_linears(2, 2, 2))
    params, state = fn.functionalize(model).init(jax.random.key(0))
    bound, x = fn.bind(model, params, state), jnp.ones(2)
    np.testing.assert_array_equal(bound[1:](bound[0](x)), bound(x))
    with pytest.raises(AttributeError):
        bound.append(nn.Linear(2, 2))


def test_module_list():
    layers = nn.ModuleList(_linears(1, 2))
    layers += _linears(3)
    layers.extend(layer for layer in _linears(4))
    assert _sizes(layers) == [1, 2, 3, 4]
    assert _sizes(layers[::2]) == [1, 3]
    assert _sizes(layers + _linears(5)) == [1, 2, 3, 4, 5]
    layers.insert(1, nn.Linear(6, 6))
    assert _sizes(layers) == [1, 6, 2, 3, 4]
    with pytest.raises(IndexError):
        layers[5]
    with pytest.raises(TypeError):
        layers.append(3)
    with pytest.raises(TypeError):
        layers.extend(3)
    with pytest.raises(TypeError):
        layers["0"]


def test_module_dict():
    heads = nn.ModuleDict({"b": nn.Linear(2, 2), "a": nn.Linear(1, 1)})
    heads.update([("c", nn.Linear(3, 3))])
    assert list(heads) == ["b", "a", "c"]
    assert "a" in heads
    assert "weight" not in heads
    assert heads.pop("a").in_features == 1
    assert [name for name, _ in heads.items()] == ["b", "c"]
    assert _names(heads)[0] == "b.weight"
    heads["b"] = nn.Linear(5, 5)
    assert _sizes(heads.values()) == [5, 3]
    del heads["b"]
    assert len(heads) == 1
    heads.clear()
    assert len(heads) == 0
    for name in ("keys", "a.b", ""):
        with pytest.raises(KeyError):
            heads[name] = nn.Linear(1, 1)
    with pytest.raises(KeyError):
        heads["missing"]
    with pytest.raises(TypeError):
        heads["a"] = 1


def test_parameter_containers_hold_arrays_by_value():
    class Scales(nn.Module):
        def __init__(self):
            self.list = nn.ParameterList([np.full(2, 3.0), fn.Parameter((), nn.init.ones())])
            self.dict = nn.ParameterDict({"one": jnp.zeros(2), "label": "kept"})

        def __call__(self, x):
            for scale in self.list:
                x = x * scale
            return x + self.dict["one"] + len(self.dict["label"])

    net = fn.functionalize(Scales())
    params, state = net.init(jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == {"list": {"0": (2,), "1": ()}, "dict": {"one": (2,)}}
    np.testing.assert_array_equal(net.apply(params, state, jnp.ones(2))[0], [7.0, 7.0])


def test_parameter_dict_is_a_mapping():
    ones = lambda: fn.Parameter((1,), nn.init.ones())
    first, second = (
        nn.ParameterDict({"a": ones()}),
        nn.ParameterDict([("b", ones()), ("a", ones())]),
    )
    assert list(first | second) == ["a", "b"]
    assert (first | second)["a"] is second["a"]
    first |= second
    assert list(reversed(first)) == ["b", "a"]
    assert first.get("c") is None
    assert first.setdefault("c", 3) == 3
    assert first.popitem() == ("c", 3)
    assert list(first.copy()) == ["a", "b"]
    assert list(first.fromkeys(["x", "y"], 1)) == ["x", "y"]


def test_pretrained_tables():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    frozen = fn.functionalize(nn.Embedding.from_pretrained(table))
    params, state = frozen.init(jax.random.key(0))
    assert params == {}
    np.testing.assert_array_equal(frozen.apply(params, state, np.array([2]))[0], table[2:])
    bag = fn.functionalize(
        nn.EmbeddingBag.from_pretrained(jnp.asarray(table), freeze=False, mode="sum")
    )
    params, state = bag.init(jax.random.key(0))
    np.testing.assert_array_equal(bag.apply(params, state, np.array([[0, 2]]))[0], [[4.0, 6.0]])
    with pytest.raises(ValueError, match="two axes"):
        nn.Embedding.from_pretrained(table[0])


def test_lazy_linear_learns_its_features():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.LazyLinear(2, bias=False))
    net = fn.functionalize(model)
    params, state = net.init(jax.random.key(0), jnp.ones((5, 3, 2)))
    assert jax.tree.map(jnp.shape, params) == {
        "1": {"weight": (4, 6), "bias": (4,)},
        "2": {"weight": (2, 4)},
    }
    assert net.apply(params, state, jnp.ones((5, 3, 2)))[0].shape == (5, 2)


def test_losses_without_weights_need_no_parameters():
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert loss(jnp.zeros((2, 3)), jnp.array([0, 1])).shape == ()
    weighted = nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0])
    params, state = fn.functionalize(weighted).init(jax.random.key(0))
    assert state["weight"].tolist() == [1.0, 2.0, 3.0]
    assert fn.bind(weighted, params, state)(jnp.zeros((2, 3)), jnp.array([0, 1])).shape == ()
