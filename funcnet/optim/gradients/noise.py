"""What is done to gradients before they are used: noise, centring, sharpness."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.optim.gradients.clip import global_norm
from funcnet.optim.leaves import is_trainable
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, stateless

__all__ = ["NoiseState", "add_noise", "centralize", "conjugate", "sam"]


class NoiseState(NamedTuple):
    """State of `add_noise`: the count of steps, and the words of a random key."""

    step: Array
    key: Array


def add_noise(eta: float = 0.01, gamma: float = 0.55, seed: int = 0) -> GradientTransformation:
    r"""Add Gaussian noise that fades: :math:`g + \mathcal{N}(0, \sigma_t^2)`.

    .. math:: \sigma_t^2 = \frac{\eta}{(1 + t)^\gamma}, \qquad t = 0, 1, \dots

    Args:
        eta: η, the first variance.
        gamma: γ, how fast it falls.
        seed: of the noise; the same seed gives the same noise.

    Returns:
        A transformation with a `NoiseState`.

    Raises:
        ValueError: ``eta`` is negative.

    Example:
        >>> noise = optim.add_noise(eta=1.0)
        >>> updates, state = noise.update(jnp.zeros(3), noise.init(jnp.zeros(3)))
        >>> bool((updates != 0).all())
        True

    Reference: Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
    2015
    """
    check_non_negative("eta", eta)

    def init(params: PyTree) -> NoiseState:
        words = jax.random.key_data(jax.random.key(seed))
        return NoiseState(jnp.zeros((), jnp.int32), words)

    def update(
        grads: PyTree, state: NoiseState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, NoiseState]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        leaves, treedef = jax.tree.flatten(grads)
        deviation = jnp.sqrt(eta / jnp.power(1 + state.step.astype(float), gamma))
        noisy = [
            g
            + deviation.astype(jnp.finfo(g.dtype).dtype) * jax.random.normal(one, g.shape, g.dtype)
            if is_trainable(g)
            else g
            for one, g in zip(jax.random.split(key, max(len(leaves), 1)), leaves, strict=False)
        ]
        return treedef.unflatten(noisy), state._replace(step=state.step + jnp.ones((), jnp.int32))

    return ShapedTransformation(init, update)


def centralize() -> GradientTransformation:
    r"""Subtract from each gradient the mean over all axes but the first.

    .. math:: g_{i\cdot} \leftarrow g_{i\cdot} - \tfrac1n \textstyle\sum_j g_{ij}

    The first axis is a layer's output axis; vectors and scalars stay as they are.

    Returns:
        A transformation without a state.

    Example:
        >>> centred, _ = optim.centralize().update(jnp.array([[1.0, 3.0], [2.0, 2.0]]), ())
        >>> centred.tolist()
        [[-1.0, 1.0], [0.0, 0.0]]

    Reference: Yong et al., "Gradient Centralization", ECCV 2020
    """

    def centre(g: Any) -> Any:
        if not is_trainable(g) or jnp.ndim(g) < 2 or jnp.size(g) == 0:
            return g
        return g - jnp.mean(g, axis=tuple(range(1, jnp.ndim(g))), keepdims=True)

    made = stateless(lambda grads, params: jax.tree.map(centre, grads))
    return ShapedTransformation(*made)


def conjugate() -> GradientTransformation:
    """Conjugate complex gradients, as ``jax.grad`` gives them, to what an optimizer descends.

    For a real loss of complex parameters ``jax.grad`` returns the conjugate of the direction of
    steepest ascent, PyTorch the direction itself. Real gradients stay as they are.

    Returns:
        A transformation without a state; put it first in a chain.

    Example:
        >>> loss = lambda z: jnp.abs(z - 1j) ** 2
        >>> optimizer = optim.chain(optim.conjugate(), optim.sgd(0.5))
        >>> z = jnp.array(1.0 + 0.0j)
        >>> updates, _ = optimizer.update(jax.grad(loss)(z), optimizer.init(z))
        >>> bool(jnp.abs(z + updates - 1j) < 1e-6)
        True

    Reference: https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html
    """

    def flip(g: Any) -> Any:
        return jnp.conj(g) if is_trainable(g) and jnp.iscomplexobj(g) else g

    return stateless(lambda grads, params: jax.tree.map(flip, grads))


def sam(
    loss: Callable[..., Any], rho: float = 0.05, *, adaptive: bool = False, has_aux: bool = False
) -> Callable[..., tuple[Any, PyTree]]:
    r"""Differentiate a loss at the worst point nearby: sharpness-aware minimisation.

    .. math:: \hat p = p + \rho \frac{g(p)}{\|g(p)\|}, \qquad \text{and the gradient is } g(\hat p)

    Any optimizer takes the gradient; a step costs two differentiations.

    Args:
        loss: ``loss(params, *args)``, a scalar, or with ``has_aux`` a pair.
        rho: how far away the worst point is sought.
        adaptive: measure distance in proportion to each parameter's size.
        has_aux: whether the loss returns ``(value, aux)``.

    Returns:
        A function like ``jax.value_and_grad(loss)``: the value (and aux) at the parameters, the
        gradient at the worst point.

    Raises:
        ValueError: ``rho`` is negative.

    Example:
        >>> value, grads = optim.sam(lambda p: jnp.sum(p**2), rho=0.5)(jnp.array([3.0, 4.0]))
        >>> float(value), [round(float(g), 3) for g in grads]
        (25.0, [6.6, 8.8])

    Reference: Foret et al., "Sharpness-Aware Minimization", ICLR 2021; Kwon et al., "ASAM", ICML
    2021
    """
    check_non_negative("rho", rho)
    differentiate = jax.value_and_grad(loss, has_aux=has_aux)

    def value_and_grad(params: PyTree, *args: Any, **kwargs: Any) -> tuple[Any, PyTree]:
        value, grads = differentiate(params, *args, **kwargs)
        size = jax.tree.map(jnp.abs, params) if adaptive else None
        scaled = jax.tree.map(jnp.multiply, size, grads) if adaptive else grads
        norm = global_norm(scaled)
        reach = rho / jnp.where(norm > 0, norm, 1)
        towards = jax.tree.map(jnp.multiply, size, scaled) if adaptive else grads

        def away(p: Array, g: Array) -> Array:
            # The gradient of a complex parameter points uphill once conjugated.
            g = jnp.conj(g) if jnp.iscomplexobj(g) else g
            return p + (reach.astype(jnp.finfo(g.dtype).dtype) * g).astype(p.dtype)

        worst = jax.tree.map(away, params, towards)
        return value, differentiate(worst, *args, **kwargs)[1]

    return value_and_grad
