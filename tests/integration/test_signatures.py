"""What a type checker and `help` see of a model's two functions."""

import inspect
import re
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


def _declared(name):
    return _shown(typing.get_type_hints(fn.Functional)[name].__call__)


def test_a_type_checker_sees_the_real_signature_of_apply():
    assert _declared("apply") == _shown(NET.apply)


def test_a_type_checker_wants_the_key_that_init_only_takes_as_missing_to_say_so():
    (name, kind, default, annotation), *others = _declared("init")
    assert (name, default, annotation) == ("key", inspect.Parameter.empty, jax.Array)
    assert [(name, kind, None, annotation | None), *others] == _shown(NET.init)
    with pytest.raises(TypeError, match=re.escape("net.init(jax.random.key(0)); got none")):
        NET.init()


def test_help_says_what_apply_takes():
    text = inspect.getdoc(NET.apply)
    for argument in ("params", "state", "*args", "key", "train", "**kwargs"):
        assert f"\n    {argument}: " in text


def test_a_wrong_keyword_raises_when_it_is_called():
    params, state = NET.init(jax.random.key(0))
    with pytest.raises(TypeError, match="trian"):
        NET.apply(params, state, jnp.ones(2), trian=True)
