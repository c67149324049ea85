"""What a mask hides from a query cannot reach it, even where it is no number: zero times NaN is NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

LENGTH, BAD = 6, 4
SEEN = np.tril(np.ones((LENGTH, LENGTH), bool))
MASKS = {
    "causal": {"is_causal": True},
    "booleans": {"attn_mask": jnp.asarray(SEEN)},
    "floats": {"attn_mask": jnp.where(SEEN, 0.5, -jnp.inf)},
    "each head's": {"attn_mask": jnp.asarray(np.broadcast_to(SEEN, (2, 4, LENGTH, LENGTH)))},
}
NAMES = ("query", "key", "value")
WHERE = [("query",), ("key",), ("value",), NAMES]


def _early(output):
    """Rows before the bad position."""
    return output[..., :BAD, :]


@pytest.mark.parametrize("bad", WHERE, ids="+".join)
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("number", [jnp.nan, jnp.inf], ids=["nan", "inf"])
def test_a_later_position_reaches_no_earlier_row_nor_gradient(number, kind, bad):
    keys = jax.random.split(jax.random.key(0), 3)
    clean = {
        name: jax.random.normal(key, (2, 4 if name == "query" else 2, LENGTH, 3))
        for name, key in zip(NAMES, keys, strict=True)
    }
    spoiled = {
        name: x.at[:, -1, BAD, 0].set(number) if name in bad else x for name, x in clean.items()
    }

    def attend(arrays):
        return F.scaled_dot_product_attention(**arrays, **MASKS[kind], enable_gqa=True)

    def loss(arrays):
        return jnp.sum(jnp.sin(_early(attend(arrays))))

    both = jax.jit(lambda arrays: (attend(arrays), jax.grad(loss)(arrays)))
    (output, grads), (right, wanted) = both(spoiled), both(clean)
    # the same products of the same numbers, in the same order
    np.testing.assert_allclose(_early(output), _early(right), rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), grads, wanted)
    served = (2, 3) if set(bad) - {"query"} else (3,)
    hurt = np.zeros(right.shape[:3], bool)
    hurt[:, list(served), BAD:] = True
    if bad == ("query",):
        hurt[..., BAD + 1 :] = False
    if number == jnp.inf and "value" not in bad:
        return  # a score of minus infinity hides a key, as a mask does
    assert (np.isnan(output).any(-1) == hurt).all()
