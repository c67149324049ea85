"""Rotary position embeddings: pairs of features turned by an angle that grows with position."""

import math

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice, check_divisible, check_positive
from funcnet.core.dtypes import as_floats, at_least_float32

__all__ = ["rotary_embedding", "rotary_frequencies"]

SCALINGS = ("none", "linear", "ntk", "llama3")


def rotary_frequencies(
    dim: int,
    base: float = 10000.0,
    *,
    scaling: str = "none",
    factor: float = 1.0,
    original_length: int = 8192,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
) -> np.ndarray:
    """Return the angle by which each pair of features turns from one position to the next.

    ``frequency[i] = base ** (-2 i / dim)``, from 1 down to almost ``1 / base``. A model trained on
    short sequences reads longer ones if its frequencies are scaled:

    * ``"linear"`` divides all of them by ``factor``: positions are interpolated;
    * ``"ntk"`` raises the base so that the lowest is divided by ``factor`` and the highest kept;
    * ``"llama3"`` divides those whose wavelength exceeds ``original_length / low_freq_factor``, keeps
      those below ``original_length / high_freq_factor``, and blends in between.

    Args:
        dim: number of features to turn, even.
        base: ratio of the longest wavelength to the shortest, almost.
        scaling: ``"none"``, ``"linear"``, ``"ntk"`` or ``"llama3"``.
        factor: how many times longer sequences become.
        original_length: length that the model was trained on; for ``"llama3"``, like the next two.
        low_freq_factor: periods within that length at and below which a frequency is divided.
        high_freq_factor: periods at and above which a frequency is kept.

    Returns:
        A NumPy array of shape ``(dim / 2,)``, float64: it is computed once, not in the program.

    Raises:
        ValueError: ``dim`` is odd, a number is not positive, or the scaling is unknown.

    Example:
        >>> F.rotary_frequencies(6, base=1000.0).round(3).tolist()
        [1.0, 0.1, 0.01]

    Reference: Su et al., RoFormer, 2021, https://arxiv.org/abs/2104.09864; linear scaling: Chen et
    al., 2023, https://arxiv.org/abs/2306.15595; the bands of ``"llama3"``: https://arxiv.org/abs/2407.21783.
    """
    check_positive("dim", dim)
    check_divisible("dim", dim, "2 (features turn in pairs)", 2)
    check_positive("base", base)
    check_positive("factor", factor)
    check_choice("scaling", scaling, SCALINGS)
    if scaling == "ntk" and dim > 2:
        base = base * factor ** (dim / (dim - 2))
    frequencies = base ** (-np.arange(0, dim, 2) / dim)
    if scaling == "linear":
        return frequencies / factor
    if scaling != "llama3":
        return frequencies
    if not 0 < low_freq_factor < high_freq_factor:
        raise ValueError(
            "low_freq_factor must be above zero and below high_freq_factor; got "
            f"{low_freq_factor} and {high_freq_factor}"
        )
    periods = original_length * frequencies / (2 * math.pi)
    kept = (periods - low_freq_factor) / (high_freq_factor - low_freq_factor)
    kept = np.clip(kept, 0, 1)
    return frequencies * (kept + (1 - kept) / factor)


def rotary_embedding(
    input: Array,
    positions: Array | None = None,
    *,
    offset: ArrayLike = 0,
    base: float = 10000.0,
    frequencies: ArrayLike | None = None,
    interleaved: bool = False,
) -> Array:
    """Turn pairs of features by angles proportional to position, for queries and keys.

    With ``φ = position * frequency[i]``, the pair ``(a, b)`` becomes
    ``(a cos φ - b sin φ, b cos φ + a sin φ)``, so that the product of a query and a key depends on
    the distance between them only. Angles are computed in float32 at least.

    Args:
        input: shape ``(*, L, E)``, such as ``(N, heads, L, E)``.
        positions: integers or floats that broadcast to ``(*, L)``; ``0 … L-1`` by default.
        offset: added to the positions: in decoding, how many steps went before. May be traced.
        base: of the frequencies, if these are not given; see `rotary_frequencies`.
        frequencies: of shape ``(K,)`` with ``2 K <= E``: the first ``2 K`` features turn, the others
            stay. By default all turn.
        interleaved: pairs are neighbours, ``(2 i, 2 i + 1)``, as in RoFormer and GPT-J; by default
            they are ``(i, i + K)``, as in GPT-NeoX and the Llama checkpoints of Hugging Face.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        ValueError: the number of features is odd, or shapes do not fit.
        TypeError: the input holds no floats.

    Example:
        >>> x = jnp.ones((5, 8))
        >>> whole = F.rotary_embedding(x)
        >>> bool(jnp.allclose(whole[3:], F.rotary_embedding(x[3:], offset=3)))
        True

    Reference: Su et al., RoFormer, 2021, https://arxiv.org/abs/2104.09864.
    """
    (input,) = as_floats("rotary_embedding", input=input)
    if input.ndim < 2:
        raise ValueError(f"input must have shape (*, length, features); got {input.shape}")
    features = input.shape[-1]
    dtype = at_least_float32(input.dtype)
    if frequencies is None:
        frequencies = rotary_frequencies(features, base)
    speeds = jnp.asarray(frequencies, dtype)
    if speeds.ndim != 1 or 2 * speeds.size > features:
        raise ValueError(
            f"frequencies must have shape (K,) with 2 K <= {features}; got {speeds.shape}"
        )
    angles = _positions(positions, offset, input.shape[:-1], dtype)[..., None] * speeds
    turned = 2 * speeds.size
    output = _turn(input[..., :turned].astype(dtype), angles, interleaved).astype(input.dtype)
    return output if turned == features else jnp.concatenate([output, input[..., turned:]], -1)


def _positions(
    given: Array | None, offset: ArrayLike, shape: tuple[int, ...], dtype: np.dtype
) -> Array:
    """Return floats that broadcast to a shape; integers are added before they are rounded."""
    start = jnp.asarray(offset)
    positions = jnp.arange(shape[-1], dtype=start.dtype) if given is None else jnp.asarray(given)
    if jnp.issubdtype(start.dtype, jnp.floating):
        positions = positions.astype(start.dtype)
    else:
        start = start.astype(positions.dtype)
    try:
        fits = jnp.broadcast_shapes(positions.shape, start.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"positions of shape {positions.shape} with an offset of shape {start.shape} do not "
            f"broadcast to {shape}, the input's shape without features"
        )
    moved = positions if isinstance(offset, int) and offset == 0 else positions + start
    return moved.astype(dtype)


def _turn(input: Array, angles: Array, interleaved: bool) -> Array:
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if interleaved:
        pairs = input.reshape(*input.shape[:-1], -1, 2)
        a, b = pairs[..., 0], pairs[..., 1]
        return jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(input.shape)
    a, b = jnp.split(input, 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
