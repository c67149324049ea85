"""The fused kernel itself, against the plain formula in float32: `pytest -m gpu`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.functional.attention.implementations import choose, cuda_capability
from funcnet.functional.attention.plain import AttentionSettings
from tests.functional.attention.cases import arrays_of, attention, is_grouped, loss_of, mask_of

pytestmark = pytest.mark.gpu

CASES = {
    "causal": (((2, 4, 128, 64), (2, 4, 128, 64)), "causal"),
    "odd length": (((2, 4, 77, 64), (2, 4, 77, 64)), "causal"),
    "grouped": (((2, 8, 96, 64), (2, 2, 96, 64)), "causal"),
    "one key head": (((2, 4, 64, 32), (2, 1, 64, 32)), "none"),
    "over a memory": (((2, 4, 64, 80), (2, 4, 200, 80)), "none"),
    "wide heads": (((1, 2, 64, 128), (1, 2, 64, 128)), "causal"),
    "booleans": (((2, 4, 64, 64), (2, 4, 64, 64)), "booleans"),
    "floats": (((2, 4, 64, 64), (2, 4, 96, 64)), "floats"),
    "padding": (((2, 4, 64, 64), (2, 4, 64, 64)), "padding"),
    "three axes": (((4, 64, 64), (4, 64, 64)), "causal"),
}


@pytest.fixture(autouse=True)
def a_gpu():
    if cuda_capability() < (8, 0):
        pytest.skip("no NVIDIA GPU of compute capability 8.0")


def close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        # weights, outputs and gradients are rounded to 8 bits; products of them in float32
        np.testing.assert_allclose(a, b, rtol=0.03, atol=0.03 * np.abs(b).max())


def both(case, dtype, run):
    shapes, kind = CASES[case]
    arrays = arrays_of(shapes, dtype)
    options = mask_of(kind, *arrays[:2])
    settings = AttentionSettings(0.0, options.get("is_causal", False), 1.0)
    assert choose(None, *arrays, options.get("attn_mask"), settings, False) == "fused"
    wide = [array.astype(jnp.float32) for array in arrays]
    for form, given in (("fused", arrays), ("plain", wide)):
        attend = attention(form, is_grouped(*arrays[:2]), **options)
        yield jax.jit(lambda *given, attend=attend: run(attend, *given))(*given)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient(case, dtype):
    def run(attend, *arrays):
        return attend(*arrays), jax.grad(loss_of(attend), (0, 1, 2))(*arrays)

    close(*both(case, dtype, run))


def _jvp(attend, *arrays):
    return jax.jvp(attend, arrays, tuple(map(jnp.cos, arrays)))[1]


def _hessian_vector(attend, *arrays):
    grads = jax.grad(loss_of(attend), (0, 1, 2))
    return jax.jvp(grads, arrays, tuple(map(jnp.cos, arrays)))[1]


def _reverse_twice(attend, *arrays):
    def along(*arrays):
        return jnp.vdot(jax.grad(loss_of(attend))(*arrays), jnp.cos(arrays[0])).astype(jnp.float32)

    return jax.grad(along)(*arrays)


def _mapped(attend, query, key, value):
    queries = jnp.stack([query, -query])
    return jax.vmap(jax.grad(loss_of(attend), (0, 1, 2)), (0, None, None))(queries, key, value)


def _in_a_loop(attend, query, key, value):
    def loss(query):
        return jax.lax.scan(lambda q, _: (attend(q, key, value), None), query, None, 3)[0].sum()

    return jax.grad(lambda query: loss(query).astype(jnp.float32))(query)


@pytest.mark.parametrize("case", ["causal", "grouped", "booleans", "floats"])
@pytest.mark.parametrize("run", [_jvp, _hessian_vector, _reverse_twice, _mapped, _in_a_loop])
def test_transform(case, run):
    if run is _in_a_loop and case == "floats":
        pytest.skip("queries and keys differ in number, and a loop carries neither")
    close(*both(case, jnp.bfloat16, run))


def test_cpu_in_the_same_process():
    arrays = arrays_of(((2, 4, 64, 64),) * 2, jnp.bfloat16)
    on_cpu = jax.device_put(arrays, jax.devices("cpu")[0])
    run = jax.jit(jax.grad(loss_of(attention("fused", False, is_causal=True)), (0, 1, 2)))
    close(run(*on_cpu), run(*arrays))
