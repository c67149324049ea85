"""Parameters as one vector, and back."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import widest
from funcnet.core.leaf_kinds import check_holds_arrays, trainable_leaves

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: PyTree) -> Array:
    """Lay all parameters of a tree out in one row.

    The order is that of ``jax.tree.leaves``, which goes through dicts by their sorted keys, so that it is the
    same before and after any transform: a layer's ``bias`` comes before its ``weight``. PyTorch's order is that
    of a list: ``list(fn.state_dict(module, params, {}).values())``.

    Args:
        parameters: any tree; integers, booleans, keys and None are constants and left out.

    Returns:
        A vector of the widest of the leaves' dtypes; of length 0 where nothing is trained.

    Raises:
        TypeError: a module, or another function, in place of its arrays.

    Example:
        >>> nn.utils.parameters_to_vector({"w": jnp.array([[1.0, 2.0]]), "b": jnp.array([3.0]), "n": 7}).tolist()
        [3.0, 1.0, 2.0]

    Reference: ``torch.nn.utils.parameters_to_vector``.
    """
    check_holds_arrays("parameters_to_vector", parameters)
    leaves = [jnp.asarray(leaf) for leaf in trainable_leaves(parameters)[0]]
    if not leaves:
        return jnp.zeros(0)
    dtype = widest(*(leaf.dtype for leaf in leaves))
    return jnp.concatenate([leaf.astype(dtype).reshape(-1) for leaf in leaves])


def vector_to_parameters(vec: Array, parameters: PyTree) -> PyTree:
    """Put the numbers of a vector in the places of a tree's parameters.

    Args:
        vec: what `parameters_to_vector` returned, or a vector like it.
        parameters: a tree with the shapes and dtypes wanted, which ``jax.eval_shape`` gives too.

    Returns:
        A new tree; each leaf has the dtype of that in ``parameters``, and constants are those of ``parameters``.

    Raises:
        ValueError: the vector has another number of elements than the tree, or is no vector.
        TypeError: the vector is no array, or the tree holds modules or other functions.

    Example:
        >>> params = {"w": jnp.ones((1, 2)), "b": jnp.ones(1, jnp.bfloat16)}
        >>> tree = nn.utils.vector_to_parameters(jnp.array([3.0, 1.0, 2.0]), params)
        >>> tree["w"].tolist(), tree["b"].dtype
        ([[1.0, 2.0]], dtype(bfloat16))

    Reference: ``torch.nn.utils.vector_to_parameters``.
    """
    check_holds_arrays("vector_to_parameters", parameters)
    if not hasattr(vec, "shape"):
        raise TypeError(
            f"vector_to_parameters takes the vector first, then the tree; got a {type(vec).__name__} as the vector"
        )
    leaves, rebuild = trainable_leaves(parameters)
    sizes = [math.prod(getattr(leaf, "shape", ())) for leaf in leaves]
    vec = jnp.asarray(vec)
    if vec.shape != (sum(sizes),):
        raise ValueError(
            f"expected a vector of {sum(sizes)} numbers, one for each of the tree's parameters; got an array of "
            f"shape {vec.shape}"
        )
    made, start = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        made.append(_like(vec[start : start + size], leaf))
        start += size
    return rebuild(made)


def _like(part: Array, leaf: Any) -> Array:
    dtype = jnp.result_type(leaf)
    if jnp.iscomplexobj(part) and not jnp.issubdtype(dtype, jnp.complexfloating):
        part = jax.lax.real(part)  # it was widened beside complex numbers
    return part.reshape(getattr(leaf, "shape", ())).astype(dtype)
