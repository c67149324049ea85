"""Settings of convolutions: resolved and checked once, and few frames from the user's call to XLA's primitive."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from funcnet.functional.convolution import plain, settings, transposed

PACKAGE = str(Path(fn.__file__).parent)
MOST_FRAMES = 5

X, X_LAST = jnp.ones((2, 4, 8, 7)), jnp.ones((2, 8, 7, 4))
W, W_DEPTHWISE = jnp.ones((4, 4, 3, 3)), jnp.ones((4, 1, 3, 3))

CALLS = {
    "conv1d": lambda: F.conv1d(jnp.ones((2, 4, 9)), jnp.ones((4, 4, 3))),
    "conv2d": lambda: F.conv2d(X, W, jnp.ones(4), 2, 1),
    "conv2d, same, channels last": lambda: F.conv2d(X_LAST, W, padding="same", channels_last=True),
    "conv2d, no batch": lambda: F.conv2d(X[0], W),
    "conv2d, two batch axes": lambda: F.conv2d(X[None], W),
    "conv2d, depthwise": lambda: F.conv2d(X, W_DEPTHWISE, groups=4),
    "conv3d": lambda: F.conv3d(jnp.ones((4, 3, 4, 5)), jnp.ones((2, 4, 2, 2, 2))),
    "conv_transpose1d": lambda: F.conv_transpose1d(jnp.ones((2, 4, 9)), jnp.ones((4, 2, 3))),
    "conv_transpose2d, by phases": lambda: F.conv_transpose2d(X, W, stride=2),
    "conv_transpose3d": lambda: F.conv_transpose3d(
        jnp.ones((4, 3, 4, 5)), jnp.ones((4, 2, 2, 2, 2))
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_few_frames_lead_to_the_primitive(name, monkeypatch):
    """Frames of funcnet between the user's call and JAX's, the function that is called counted too."""
    frames = []
    primitive = lax.conv_general_dilated

    def counted(*args, **kwargs):
        frames.append(sum(f.filename.startswith(PACKAGE) for f in inspect.stack(0)))
        return primitive(*args, **kwargs)

    monkeypatch.setattr(lax, "conv_general_dilated", counted)
    jax.make_jaxpr(CALLS[name])()  # traces the forms for all platforms
    assert frames
    assert max(frames) <= MOST_FRAMES


WRONG = [
    ({"stride": 0}, ValueError, "stride must be greater than zero"),
    ({"stride": 1.5}, TypeError, "stride must be a whole number or 2 of them"),
    ({"dilation": (1, 0)}, ValueError, "dilation must be greater than zero"),
    ({"padding": -1}, ValueError, "padding must not be negative"),
    ({"padding": (1, 2, 3)}, ValueError, "padding must be one number or 2 of them"),
    ({"groups": 0}, ValueError, "groups must be greater than zero"),
    ({"groups": 3}, ValueError, "must be divisible by groups; got 4 and 3"),
]
WRONG_PLAIN = [
    ({"padding": "full"}, ValueError, "padding must be one of 'same', 'valid'"),
    ({"padding": "same", "stride": 2}, ValueError, "needs stride 1"),
]
WRONG_TRANSPOSED = [
    ({"padding": "same"}, TypeError, "padding must be a whole number"),
    ({"output_padding": -1}, ValueError, "output_padding must not be negative"),
    ({"output_padding": 1}, ValueError, "output_padding must be smaller than stride or dilation"),
]


@pytest.mark.parametrize(("kwargs", "error", "message"), WRONG + WRONG_PLAIN)
def test_function_and_layer_refuse_the_same_settings(kwargs, error, message):
    with pytest.raises(error, match=message):
        F.conv2d(X, W, **kwargs)
    with pytest.raises(error, match=message):
        nn.Conv2d(4, 4, 3, **kwargs)


@pytest.mark.parametrize(("kwargs", "error", "message"), WRONG + WRONG_TRANSPOSED)
def test_transposed_function_and_layer_refuse_the_same_settings(kwargs, error, message):
    with pytest.raises(error, match=message):
        F.conv_transpose2d(X, W, **kwargs)
    with pytest.raises(error, match=message):
        nn.ConvTranspose2d(4, 4, 3, **kwargs)


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_arrays_that_do_not_fit_are_named(function):
    name = function.__name__
    with pytest.raises(ValueError, match=f"{name}: input must have shape .N, C, H, W., N optional"):
        function(X[0, 0], W)
    with pytest.raises(ValueError, match=f"{name}: weight must have 4 axes"):
        function(X, W[0])
    for empty in (W[:0], W[:, :0], W[:, :, :0]):  # the last one XLA refused, while compiling
        with pytest.raises(
            ValueError, match=f"{name}: weight must have 4 axes, none of them empty"
        ):
            function(X, empty)
    with pytest.raises(ValueError, match=f"{name}: weight of shape .* expects 4 input channels"):
        function(X[:, :3], W)
    with pytest.raises(ValueError, match=rf"{name}: bias must have shape \(4,\); got \(3,\)"):
        function(X, W, jnp.ones(3))


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3)])
def test_a_layer_checks_its_settings_only_when_it_is_constructed(layer, monkeypatch):
    params, state = fn.functionalize(layer).init(jax.random.key(0))
    bound = fn.bind(layer, params, state)

    def refused(*args, **kwargs):
        raise AssertionError("settings are resolved again")

    for module in (plain, transposed, settings):
        monkeypatch.setattr(module, "resolve_settings", refused)
    for check in ("check_positive", "check_non_negative", "check_choice"):
        monkeypatch.setattr(settings, check, refused)
    assert bound(X).shape[:2] == (2, 4)


def test_a_setting_that_is_changed_on_the_description_counts():
    layer = nn.Conv2d(4, 4, 3)
    layer.stride = (2, 1)
    net = fn.functionalize(layer)
    params, state = net.init(jax.random.key(0))
    assert net.apply(params, state, X)[0].shape == (2, 4, 3, 5)
