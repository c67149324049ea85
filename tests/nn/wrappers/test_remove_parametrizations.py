"""Parametrized layers made plain again: their outputs stay, names and classes are those of the plain layer."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from tests.sampling import sampled

P = nn.parametrizations


class Symmetric(nn.Module):
    def __call__(self, x):
        return jnp.triu(x) + jnp.triu(x, 1).T


class Shorter(nn.Module):
    """Its value has another shape than its original."""

    def __call__(self, x):
        return x[:3]


KINDS = {
    "weight_norm": P.weight_norm,
    "spectral_norm": P.spectral_norm,
    "orthogonal": lambda layer: P.orthogonal(layer, orthogonal_map="cayley"),
    "orthogonal, no base": lambda layer: P.orthogonal(
        layer, orthogonal_map="householder", use_trivialization=False
    ),
    "symmetric": lambda layer: P.register_parametrization(layer, "weight", Symmetric()),
    "two": lambda layer: P.register_parametrization(
        P.register_parametrization(layer, "weight", Symmetric()), "weight", Symmetric()
    ),
}
PLACES = {
    "alone": lambda make: make(nn.Linear(4, 4)),
    "in a model": lambda make: nn.Sequential(
        make(nn.Linear(4, 4)), nn.Tanh(), make(nn.Linear(4, 4))
    ),
    "in a stack": lambda make: nn.Repeat(nn.Sequential(make(nn.Linear(4, 4)), nn.Tanh()), 3),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_stay_and_layers_are_plain(kind, place, request):
    sampled(request, (list(KINDS).index(kind) - list(PLACES).index(place)) % 3 == 0)
    module = PLACES[place](KINDS[kind])
    plain = PLACES[place](lambda layer: layer)
    params, state = fn.functionalize(module).init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4)), jnp.float32)
    before, _ = fn.functionalize(module).apply(params, state, x)
    made = nn.utils.parametrize.remove_parametrizations(module, params, state)
    assert set(fn.state_dict(*made)) == set(
        fn.state_dict(plain, *fn.functionalize(plain).init(jax.random.key(0)))
    )
    after, _ = fn.functionalize(plain).apply(*made[1:], x)
    # float32: stacks are computed one by one or together
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(fn.functionalize(made[0]).apply(*made[1:], x)[0], after)
    assert not any(map(nn.utils.parametrize.is_parametrized, _layers(made[0])))
    assert any(map(nn.utils.parametrize.is_parametrized, _layers(module)))
    assert pickle.loads(pickle.dumps(made[0])) is not None
    assert fn.functionalize(copy.deepcopy(made[0])).apply(*made[1:], x)[0].shape == after.shape


def _layers(module):
    from funcnet.module.description import layout_of

    return layout_of(module).modules.values()


def test_values_and_names_are_pytorchs():
    torch = pytest.importorskip("torch")
    for kind in ("weight_norm", "spectral_norm", "orthogonal"):
        for leave in (True, False):
            theirs = getattr(torch.nn.utils.parametrizations, kind)(torch.nn.Linear(4, 3)).eval()
            ours = getattr(P, kind)(nn.Linear(4, 3))
            arrays = {name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()}
            given = (ours, *fn.load_state_dict(ours, arrays), "weight", leave)
            remove = nn.utils.parametrize.remove_parametrizations
            if kind == "weight_norm" and not leave:
                with pytest.raises(ValueError, match="2 arrays"):
                    remove(*given)
                continue
            torch.nn.utils.parametrize.remove_parametrizations(theirs, "weight", leave)
            made = fn.state_dict(*remove(*given))
            assert list(made) == list(theirs.state_dict())
            for name, tensor in theirs.state_dict().items():
                # float32, one division or product
                np.testing.assert_allclose(made[name], tensor.detach(), rtol=2e-6, atol=2e-6)


def test_some_layers_some_names_and_another_shape():
    layer = P.weight_norm(P.weight_norm(nn.Linear(4, 3)), "bias")
    arrays = fn.functionalize(layer).init(jax.random.key(0))
    first = nn.utils.remove_weight_norm(layer, *arrays)
    assert isinstance(first[0], nn.Linear)
    assert nn.utils.parametrize.is_parametrized(first[0], "bias")
    assert not nn.utils.parametrize.is_parametrized(first[0], "weight")
    assert type(nn.utils.remove_weight_norm(*first, "bias")[0]) is nn.Linear
    assert nn.utils.parametrize.type_before_parametrizations(first[0]) is nn.Linear
    assert nn.utils.parametrize.is_parametrized(layer, "weight")  # what was given stays
    model = nn.Sequential(P.spectral_norm(nn.Linear(4, 4)), P.spectral_norm(nn.Linear(4, 4)))
    made, _, state = nn.utils.parametrize.remove_parametrizations(
        model, *fn.functionalize(model).init(jax.random.key(0)), patterns="0"
    )
    assert list(state) == ["1"]
    assert type(made[0]) is nn.Linear
    assert nn.utils.parametrize.is_parametrized(made[1])
    short = P.register_parametrization(nn.Linear(4, 5), "bias", Shorter())
    made, params, _ = nn.utils.parametrize.remove_parametrizations(
        short, *fn.functionalize(short).init(jax.random.key(0)), "bias"
    )
    assert params["bias"].shape == made.bias.shape == (3,)


def test_tied_originals():
    def tied():
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        second.weight = first.weight
        return nn.Sequential(P.register_parametrization(first, "weight", Symmetric()), second)

    model = tied()
    arrays = fn.functionalize(model).init(jax.random.key(0))
    with pytest.raises(ValueError, match="is tied to another"):
        nn.utils.parametrize.remove_parametrizations(model, *arrays)
    made, params, _ = nn.utils.parametrize.remove_parametrizations(
        model, *arrays, leave_parametrized=False
    )
    assert made[0].weight is made[1].weight
    assert "weight" in params["0"]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda layer, *a: nn.utils.parametrize.remove_parametrizations(nn.Linear(4, 3), *a),
            "is parametrized",
        ),
        (
            lambda layer, *a: nn.utils.parametrize.remove_parametrizations(layer, *a, "bias"),
            "'bias'",
        ),
        (lambda layer, *a: nn.utils.remove_spectral_norm(layer, *a), "computed by a SpectralNorm"),
        (
            lambda layer, *a: nn.utils.parametrize.remove_parametrizations(
                layer, *a, patterns="x.*"
            ),
            "'x.*' matches no",
        ),
    ],
    ids=["plain", "name", "kind", "pattern"],
)
def test_mistakes(call, match):
    plain = fn.functionalize(nn.Linear(4, 3)).init(jax.random.key(0))
    layer = P.weight_norm(nn.Linear(4, 3))
    arrays = (
        plain if match == "is parametrized" else fn.functionalize(layer).init(jax.random.key(0))
    )
    with pytest.raises(ValueError, match=match.replace("*", r"\*")):
        call(layer, *arrays)
