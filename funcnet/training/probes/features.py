"""What layers return for batch after batch, as one vector for each sample: what probes look at."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from funcnet.core.aliases import Array, Params, PyTree, State
from funcnet.core.shardings import leaf_constrained
from funcnet.module import Functional, capture
from funcnet.parallel.rules.table import Rules
from funcnet.training.errors import check_batches
from funcnet.training.loop.on_mesh import Setup, in_step, set_up
from funcnet.training.objective import supervised
from funcnet.training.predict import FilledBatches

__all__ = ["Layers", "flat_rows", "over_batches"]

Features = dict[str, Array]
"""A matrix ``(N, D)`` for each path."""


class Layers:
    """Some layers of a model, ready to be looked at, on a mesh or not.

    Args:
        net: what `functionalize` returned.
        params: its parameters.
        state: its buffers.
        patterns: globs on the modules' dotted paths, as in `capture`.
        vector: from what a layer returns to ``(N, *)``.
        mesh: see `fit`.
        rules: likewise.

    Example:
        >>> from funcnet.training.probes.features import Layers, flat_rows
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
        >>> layers = Layers(net, *net.init(jax.random.key(0)), "*", flat_rows, None, None)
        >>> {path: rows.shape for path, rows in layers(*layers.arrays, jnp.ones((5, 3)), 5).items()}
        {'0': (5, 4), '1': (5, 4)}
    """

    def __init__(
        self,
        net: Functional,
        params: Params,
        state: State,
        patterns: str | Iterable[str],
        vector: Callable[[Any], Array],
        mesh: Mesh | None,
        rules: Rules | None,
    ) -> None:
        seeing = supervised(capture(net, patterns), _no_loss, inputs=_itself, targets=_itself)
        self.setup: Setup = set_up(seeing, None, mesh, rules)
        self.net: Functional = getattr(self.setup.objective, "net", seeing.net)
        place = getattr(self.net.placement, "kept", self.setup.place_whole)
        self.arrays = (place(params), place(state))
        self.vector = vector

    def __call__(self, params: Params, state: State, inputs: Any, rows: int) -> Features:
        """Return what each layer makes of a batch."""
        (_, seen), _ = self.net.apply(params, state, inputs, train=False)
        return {path: self._rows(path, output, rows) for path, output in seen.items()}

    def _rows(self, path: str, output: Any, rows: int) -> Array:
        made = self.vector(output)
        if not isinstance(made, jax.Array) or not made.ndim or made.shape[0] != rows:
            told = getattr(made, "shape", type(made).__name__)
            raise ValueError(
                f"a probe looks at one vector for each of the {rows} samples, and {path} gives {told}: pass features=, "
                "a function from what the layer returns to an array (N, ...), such as lambda output: output[0]"
            )
        return made.reshape(rows, -1)


def flat_rows(output: Any) -> Any:
    """Return what a layer returned as it is: it is made flat for each sample.

    Example:
        >>> from funcnet.training.probes.features import flat_rows
        >>> flat_rows(3)
        3
    """
    return output


def over_batches(
    setup: Setup,
    batches: Iterable[Any],
    entries: Callable[[Any], Any],
    function: Callable[..., PyTree],
    *arrays: PyTree,
) -> Iterator[PyTree]:
    """Call a compiled function for each batch; its results are whole on every device.

    Args:
        setup: where batches go.
        batches: an iterable of batches.
        entries: takes out of a batch what is needed.
        function: ``function(*arrays, entries, valid)``.
        *arrays: what it is called with each time, such as params.

    Raises:
        TypeError: ``batches`` is one batch, or a dataset of single samples.

    Example:
        >>> from funcnet.training.loop.on_mesh import Setup
        >>> from funcnet.training.probes.features import over_batches
        >>> batches = [{"image": jnp.ones((2, 3))}]
        >>> add = lambda image, valid: image.sum()
        >>> [float(total) for total in over_batches(Setup(None, None), batches, lambda b: b["image"], add)]
        [6.0]
    """
    check_batches("batches", batches)
    whole = setup.whole

    def step(*given: Any) -> PyTree:
        made = function(*given)
        return made if whole is None else leaf_constrained(made, whole)

    compiled = jax.jit(step)
    source = FilledBatches(batches) if setup.mesh is None else setup.place_batches(batches)
    for batch, valid in source:
        yield in_step(compiled(*arrays, entries(batch), jnp.asarray(valid)))


def _no_loss(outputs: Any, targets: Any) -> Array:
    raise NotImplementedError("a probe has no loss")


def _itself(batch: Any) -> Any:
    return batch
