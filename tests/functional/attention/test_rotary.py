"""Rotary embeddings against multiplication by complex numbers of modulus one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet import nn


def reference(x, positions, frequencies, interleaved):
    """Turn pairs, seen as complex numbers, in NumPy and float64."""
    turned = 2 * len(frequencies)
    head, rest = x[..., :turned], x[..., turned:]
    if interleaved:
        real, imaginary = head[..., 0::2], head[..., 1::2]
    else:
        real, imaginary = np.split(head, 2, -1)
    z = (real + 1j * imaginary) * np.exp(1j * positions[..., None] * frequencies)
    if interleaved:
        head = np.empty_like(head)
        head[..., 0::2], head[..., 1::2] = z.real, z.imag
    else:
        head = np.concatenate([z.real, z.imag], -1)
    return np.concatenate([head, rest], -1)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("features", [8, 6])
def test_turns_pairs_as_complex_numbers(rng, x64, interleaved, features):
    x = rng.standard_normal((2, 3, 5, 8))
    frequencies = 100.0 ** (-np.arange(0, features, 2) / features)
    # float64: one power
    np.testing.assert_allclose(F.rotary_frequencies(features, 100.0), frequencies, rtol=1e-14)
    table = None if features == 8 else frequencies
    rows = rng.integers(0, 50, (2, 1, 5))

    @jax.jit
    def run(x, start):
        options = {"base": 100.0, "frequencies": table, "interleaved": interleaved}
        return (
            F.rotary_embedding(x, **options),
            F.rotary_embedding(x, offset=start, **options),
            F.rotary_embedding(x, jnp.asarray(rows), **options),
            F.rotary_embedding(x, jnp.asarray(rows), offset=0.5, **options),
        )

    count = np.arange(5)
    for ours, positions in zip(run(x, 7), (count, count + 7, rows, rows + 0.5), strict=True):
        expected = reference(x, positions, frequencies, interleaved)
        # float64 has 16 digits, of which cosines of angles up to 57 keep 14
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


def test_products_depend_on_distance_alone_and_gradients_turn_back(rng, x64):
    q, k, g = rng.standard_normal((3, 1, 8))

    @jax.jit
    def product(i, j):
        return F.rotary_embedding(q, offset=i) @ F.rotary_embedding(k, offset=j).T

    # float64: angles of 100 cost two digits
    np.testing.assert_allclose(product(3, 1), product(103, 101), rtol=1e-11)
    # a rotation's transpose is its inverse
    _, pull = jax.vjp(lambda x: F.rotary_embedding(x, offset=4), q)
    # float64: cosines of angles up to 4
    np.testing.assert_allclose(pull(g)[0], F.rotary_embedding(jnp.asarray(g), offset=-4), 1e-12)


def test_scalings_keep_the_high_frequencies_and_stretch_the_low():
    plain = F.rotary_frequencies(64, 500000.0)
    linear = F.rotary_frequencies(64, 500000.0, scaling="linear", factor=4.0)
    np.testing.assert_allclose(linear, plain / 4)  # one division
    ntk = F.rotary_frequencies(64, 500000.0, scaling="ntk", factor=4.0)
    np.testing.assert_allclose([ntk[0], ntk[-1]], [plain[0], plain[-1] / 4])  # one power
    assert np.all(np.diff(np.log(plain / ntk)) > 0)
    settings = {"factor": 8.0, "original_length": 8192}
    llama = F.rotary_frequencies(64, 500000.0, scaling="llama3", **settings)
    for old, new in zip(plain, llama, strict=True):
        wavelength = 2 * math.pi / old
        if wavelength < 8192 / 4:
            assert new == old
        elif wavelength > 8192:
            assert new == pytest.approx(old / 8)  # one division
        else:
            blend = (8192 / wavelength - 1) / 3
            assert new == pytest.approx((1 - blend) * old / 8 + blend * old)  # a sum of two
    assert 2 < np.sum((llama < plain) & (llama > plain / 8)) < 8


def test_sixteen_bits_round_once_even_far_out(rng):
    x = jnp.asarray(rng.standard_normal((4, 64)), jnp.bfloat16)
    ours = F.rotary_embedding(x, offset=30000)
    assert ours.dtype == jnp.bfloat16
    exact = reference(
        np.asarray(x, np.float64), np.arange(4) + 30000, F.rotary_frequencies(64), False
    )
    # half a unit in the last of eight bits; angles of 30000 have an error of 0.002 in float32
    np.testing.assert_allclose(np.asarray(ours, np.float64), exact, rtol=2**-8, atol=0.01)


def test_the_layer_is_the_function(rng):
    x = rng.standard_normal((2, 5, 12), np.float32)
    layer = nn.RotaryEmbedding(8, 1000.0, interleaved=True, scaling="linear", factor=2.0)
    table = F.rotary_frequencies(8, 1000.0, scaling="linear", factor=2.0)
    expected = F.rotary_embedding(x, offset=3, frequencies=table, interleaved=True)
    np.testing.assert_array_equal(layer(x, offset=3), expected)
    np.testing.assert_array_equal(expected[..., 8:], x[..., 8:])
    assert "base=1000.0" in repr(layer)


def test_mistakes():
    with pytest.raises(ValueError, match="turn in pairs"):
        F.rotary_embedding(jnp.ones((2, 5)))
    with pytest.raises(ValueError, match="length, features"):
        F.rotary_embedding(jnp.ones(4))
    with pytest.raises(ValueError, match=r"2 K <= 4"):
        F.rotary_embedding(jnp.ones((2, 4)), frequencies=np.ones(3))
    with pytest.raises(ValueError, match="do not broadcast"):
        F.rotary_embedding(jnp.ones((2, 4)), jnp.arange(3) * jnp.ones((2, 1), jnp.int32))
    with pytest.raises(ValueError, match="one of 'none'"):
        F.rotary_frequencies(4, scaling="yarn")
    with pytest.raises(ValueError, match="below high_freq_factor"):
        F.rotary_frequencies(4, scaling="llama3", low_freq_factor=4.0)
