"""What a type checker and `help` see of a model's two functions."""

import inspect
import typing

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn

NET = fn.functionalize(nn.Linear(2, 3))


def _shown(function):
    return [
        (p.name, p.kind, p.default, p.annotation)
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


@pytest.mark.parametrize("name", ["init", "apply"])
def test_a_type_checker_sees_the_real_signature(name):
    declared = typing.get_type_hints(fn.Functional)[name]
    assert _shown(declared.__call__) == _shown(getattr(NET, name))


def test_help_says_what_apply_takes():
    text = inspect.getdoc(NET.apply)
    for argument in ("params", "state", "*args", "key", "train", "**kwargs"):
        assert f"\n    {argument}: " in text


def test_a_wrong_keyword_raises_when_it_is_called():
    params, state = NET.init(jax.random.key(0))
    with pytest.raises(TypeError, match="trian"):
        NET.apply(params, state, jnp.ones(2), trian=True)
