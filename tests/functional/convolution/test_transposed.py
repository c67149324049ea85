"""Transposed convolution of groups in float64: off the CPU each group is a convolution of its own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet.functional.convolution import transposed

SETTINGS = [(1, 1, 0, False), (1, 3, 2, True), (2, 2, 1, False), (2, 1, 0, True), (3, 2, 0, False)]


def value_and_gradients(axes, stride, extra, channels_last):
    def loss(x, weight, bias):
        convolve = getattr(F, f"conv_transpose{axes}d")
        return jnp.sum(
            jnp.sin(convolve(x, weight, bias, stride, 1, extra, 2, channels_last=channels_last))
        )

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))


def draw(axes, channels_last, dtype):
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 4, *[4] * axes)).astype(dtype)
    weight, bias = random.standard_normal((4, 3, *[3] * axes)), random.standard_normal(6)
    return np.moveaxis(x, 1, -1) if channels_last else x, weight.astype(dtype), bias.astype(dtype)


@pytest.mark.parametrize(("axes", "stride", "extra", "channels_last"), SETTINGS)
def test_group_by_group_is_what_all_at_once_is(axes, stride, extra, channels_last, monkeypatch):
    with jax.enable_x64(True):
        arrays = draw(axes, channels_last, np.float64)
        expected = value_and_gradients(axes, stride, extra, channels_last)(*arrays)
        elsewhere = lambda *arrays, cpu, default: default(*arrays)
        monkeypatch.setattr(transposed.lax, "platform_dependent", elsewhere)
        given = value_and_gradients(axes, stride, extra, channels_last)(*arrays)
    # sums of up to 3,000 numbers of size one in float64, in another order
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), given, expected
    )


@pytest.mark.parametrize(("axes", "stride", "extra", "channels_last"), SETTINGS)
@pytest.mark.parametrize(
    ("platform", "dtype", "grouped"),
    [
        ("cuda", np.float64, False),
        ("cuda", np.float32, True),
        ("cpu", np.float64, True),
    ],
)
def test_programs_hold_grouped_convolutions_where_they_run(
    axes, stride, extra, channels_last, platform, dtype, grouped
):
    with jax.enable_x64(True):
        traced = value_and_gradients(axes, stride, extra, channels_last).trace(
            *draw(axes, channels_last, dtype)
        )
        program = traced.lower(lowering_platforms=(platform,)).as_text()
    counts = set(re.findall(r"group_count = (\d+)", program))
    assert counts == ({"1", "2"} if grouped else {"1"})
