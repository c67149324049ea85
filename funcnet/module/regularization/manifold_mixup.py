"""Manifold mixup: average what a hidden layer returns for pairs of samples, and their labels likewise."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Key
from funcnet.core.checks import check_positive
from funcnet.core.dtypes import at_least_float32, is_float
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.module.observe import chosen_modules, intervene

if TYPE_CHECKING:
    from funcnet.module.functionalize import Functional

__all__ = ["ManifoldMixup", "manifold_mixup"]


class ManifoldMixup(NamedTuple):
    """A model whose hidden layer mixes the samples of a batch, and how to mix what belongs to them.

    Attributes:
        net: the model, used as the one given.
        share: of each sample in its mixture; the rest is its partner's.
        key: says which sample is whose partner.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> mixup = fn.manifold_mixup(net, ["0", "1"], jax.random.key(1))
        >>> output, state = mixup.net.apply(params, state, jnp.ones((2, 3)))
        >>> mixup.loss(F.cross_entropy, output, jnp.array([0, 1])).shape
        ()
    """

    net: "Functional"
    share: Array
    key: Key

    def mixed(self, values: Array, axis: int = 0) -> Array:
        """Average each row with its partner's: one-hot labels, or targets of a regression.

        Args:
            values: floats with an axis of samples.
            axis: of samples.

        Raises:
            TypeError: the values are no floats: labels that are class indices have no mean.

        Example:
            >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 2)))
            >>> mixup = fn.manifold_mixup(net, "0", jax.random.key(0), share=0.75)
            >>> sorted(mixup.mixed(jnp.array([0.0, 4.0])).tolist()) in ([0.0, 4.0], [1.0, 3.0])
            True
        """
        if not is_float(values):
            raise TypeError(
                f"values of dtype {jnp.result_type(values).name} have no mean: write mixup.loss(F.cross_entropy, "
                "outputs, labels), or mixup.mixed(jax.nn.one_hot(labels, num_classes))"
            )
        partners = self.partners(values, axis)
        wide = at_least_float32(values.dtype)
        share = self.share.astype(wide)
        return (share * values.astype(wide) + (1 - share) * partners.astype(wide)).astype(
            values.dtype
        )

    def partners(self, values: Array, axis: int = 0) -> Array:
        """Return for each row its partner's.

        Args:
            values: an array with an axis of samples.
            axis: of samples.

        Example:
            >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 2)))
            >>> mixup = fn.manifold_mixup(net, "0", jax.random.key(0))
            >>> sorted(mixup.partners(jnp.arange(4)).tolist())
            [0, 1, 2, 3]
        """
        values = jnp.asarray(values)
        if not -values.ndim <= axis < values.ndim:
            raise ValueError(
                f"mixing needs an axis of samples; got shape {values.shape}, and axis {axis}"
            )
        order = jax.random.permutation(self.key, values.shape[axis])
        take = partial(jnp.take, axis=axis)
        return let_xla_place(take, values, order, kept=values.ndim)

    def loss(
        self, loss: Callable[..., Any], outputs: Any, targets: Any, axis: int = 0, **options: Any
    ) -> Any:
        """Return the loss against the samples' own targets and against their partners', mixed as they are.

        For cross entropy this is the loss against mixed one-hot labels.

        Args:
            loss: ``loss(outputs, targets, **options)``.
            outputs: of the model.
            targets: an array, or a tree of them, with an axis of samples.
            axis: of samples, in the targets.
            **options: handed on.

        Example:
            >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
            >>> params, state = net.init(jax.random.key(0))
            >>> mixup = fn.manifold_mixup(net, "1", jax.random.key(1))
            >>> outputs, state = mixup.net.apply(params, state, jnp.ones((5, 3)))
            >>> mixup.loss(F.cross_entropy, outputs, jnp.array([0, 1, 1, 0, 1])).shape
            ()
        """
        partners = jax.tree.map(lambda leaf: self.partners(leaf, axis), targets)
        own, other = loss(outputs, targets, **options), loss(outputs, partners, **options)
        return jax.tree.map(lambda a, b: self.share * a + (1 - self.share) * b, own, other)


def manifold_mixup(
    net: "Functional",
    patterns: str | Iterable[str],
    key: Key,
    *,
    alpha: float = 2.0,
    share: ArrayLike | None = None,
    axis: int = 0,
) -> ManifoldMixup:
    r"""Return a model in which one hidden layer's output is averaged with that of a random other sample.

    .. math:: h_i \leftarrow \lambda h_i + (1 - \lambda)\, h_{\pi(i)}, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    One :math:`\lambda`, one order :math:`\pi` and one layer are drawn for the batch. Call it within the loss that is
    differentiated, with a fresh key at each step; nothing is compiled again. Rows that fill a batch are samples to
    it: leave out the last batch instead (``drop_last=True``). The input itself is mixed by `data.augment.MixUp`.

    Args:
        net: what `functionalize` returned.
        patterns: a glob, or several, on the modules' dotted paths, as in `capture`; of all modules that match, one is
            drawn.
        key: a random key.
        alpha: of the beta distribution.
        share: :math:`\lambda`, instead of drawing it.
        axis: of samples, in all arrays that the layer returns.

    Returns:
        ``(net, share, key)`` with the methods ``mixed``, ``partners`` and ``loss``.

    Raises:
        ValueError: a glob matches no module, or ``alpha`` is not positive. Raised by ``apply``: an output has no
            such axis, or several of different lengths.
        TypeError: ``net`` is a model. Raised by ``apply``: the layer returns no floats.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> x, labels = jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])
        >>> def objective(params, key):
        ...     mixup = fn.manifold_mixup(net, ["0", "1"], key)
        ...     return mixup.loss(F.cross_entropy, mixup.net.apply(params, state, x)[0], labels)
        >>> fn.grad(objective)(params, jax.random.key(1))["0"]["weight"].shape
        (4, 3)

    Reference: Verma et al., Manifold Mixup, 2019, https://arxiv.org/abs/1806.05236.
    """
    check_positive("alpha", alpha)
    chosen = chosen_modules(net, patterns, "manifold_mixup")
    names = sorted(frozenset().union(*chosen.values()))
    for_share, for_order, for_layer = jax.random.split(key, 3)
    if share is None:
        share = jax.random.beta(for_share, alpha, alpha, dtype=jnp.float32)
    made = ManifoldMixup(net, jnp.asarray(share, jnp.float32), for_order)

    def mix(output: Any) -> Any:
        lengths = {leaf.shape[axis] for leaf in jax.tree.leaves(output) if leaf.ndim}
        if len(lengths) > 1:
            raise ValueError(
                f"manifold_mixup mixes the samples along axis {axis} of all arrays that a layer returns; they have "
                f"lengths {sorted(lengths)} there: choose a layer that returns one array"
            )
        return jax.tree.map(lambda leaf: made.mixed(leaf, axis), output)

    if len(names) == 1:
        return made._replace(net=intervene(net, {names[0]: mix}))
    drawn = jax.random.randint(for_layer, (), 0, len(names))

    def edit(number: int) -> Callable[[Any], Any]:
        return lambda output: jax.lax.cond(drawn == number, mix, lambda same: same, output)

    return made._replace(net=intervene(net, {name: edit(n) for n, name in enumerate(names)}))
