"""A watch on a step's outputs that reports where a value was first not finite."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.errors import NonFiniteError
from funcnet.core.jax_internals.programs import Program, trace
from funcnet.core.leaf_kinds import is_trainable
from funcnet.core.paths import leaves_with_paths
from funcnet.transforms.arguments import argument_path, wraps
from funcnet.transforms.debugging.nan_report import Blame
from funcnet.transforms.debugging.nan_search import search
from funcnet.transforms.differentiable_leaves import is_typed_key

__all__ = ["nan_guard"]

_STALLED = 10.0  # seconds without a step after which a search is left to itself


def nan_guard(
    fun: Callable[..., Any],
    report: Callable[[Blame], Any] | None = None,
    *,
    step: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Return ``fun``, made to report where a value is first not finite.

    The outputs are checked for NaN and infinity inside the compiled program. Only when the check
    fails does the program hand its arguments to the host, where the function is run again, operation
    by operation, up to the culprit: so it works under `jit` and with donated arguments, and a healthy
    step pays for the check alone. The report names the operation, the module's path (its
    ``jax.named_scope``), forward or backward pass, and the line of source.

    Guard the outermost function, the whole training step: a gradient taken of a guarded function
    is not watched itself.

    Args:
        fun: any function of arrays, such as a training step.
        report: called on the host with a `Blame`; by default `NonFiniteError` is raised, which
            arrives as a ``jax.errors.JaxRuntimeError`` where the result is waited for.
        step: picks the number of the step out of the arguments, for the message.

    Returns:
        A function of the same arguments with the same outputs.

    >>> blames = []
    >>> guarded = transforms.jit(transforms.nan_guard(lambda x: jnp.log(x) * 2, blames.append))
    >>> _ = guarded(jnp.array([1.0, 0.0])), jax.effects_barrier()
    >>> blames[0].kind, blames[0].site.operation
    ('infinity', 'log')
    """

    @wraps(fun)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = jax.tree.flatten((args, kwargs))
        traced = [_is_traceable(leaf) for leaf in leaves]
        arrays = [leaf for leaf, keep in zip(leaves, traced, strict=True) if keep]

        def of_arrays(*arrays: Any) -> Any:
            parts = iter(arrays)
            filled = [next(parts) if k else leaf for leaf, k in zip(leaves, traced, strict=True)]
            args, kwargs = jax.tree.unflatten(treedef, filled)
            return fun(*args, **kwargs)

        program, shapes = trace(of_arrays, *arrays)
        outputs = program(*arrays)
        number = jnp.int32(-1) if step is None else jnp.asarray(step(*args, **kwargs), jnp.int32)
        names = [path for path, _ in leaves_with_paths((args, kwargs))]
        names = [_argument_name(fun, name) for name, k in zip(names, traced, strict=True) if k]
        _watch(program, arrays, outputs, names, number, report)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return guarded


def _watch(
    program: Program,
    arrays: list[Any],
    outputs: list[Any],
    names: list[str],
    number: Array,
    tell: Callable[[Blame], Any] | None,
) -> None:
    """Hand the arguments to a search on the host, in a branch taken only on failure."""
    checked = list(filter(is_trainable, outputs))
    if not checked:
        return
    healthy = jnp.stack([jnp.isfinite(x).all() for x in checked]).all()
    keys = list(map(is_typed_key, arrays))
    kinds = [jax.random.key_impl(x) if key else None for x, key in zip(arrays, keys, strict=True)]
    plain = [jax.random.key_data(x) if key else x for x, key in zip(arrays, keys, strict=True)]
    # XLA does not compile a callback in a branch with operands of no elements: they stay behind
    blanks = [None if jnp.size(x) else jax.typeof(x) for x in plain]
    plain = [x for x, blank in zip(plain, blanks, strict=True) if blank is None]
    wide = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]

    def on_host(healthy: Any, number: Any, *plain: Any) -> None:
        if healthy:  # under vmap both branches run, for every example
            return

        def find(tick: Callable[[], Any]) -> Blame:
            with jax.enable_x64(wide), jax.default_device(jax.devices("cpu")[0]):
                sent = iter(plain)
                filled = [next(sent) if b is None else np.zeros(b.shape, b.dtype) for b in blanks]
                arrays = [_restored(x, kind) for x, kind in zip(filled, kinds, strict=True)]
                step = None if number < 0 else int(number)
                return replace(search(program, arrays, names, tick), step=step)

        _Investigation(find, tell).wait()

    jax.lax.cond(
        healthy,
        lambda *_: None,
        lambda *operands: jax.debug.callback(on_host, *operands),
        healthy,
        number,
        *plain,
    )


def _restored(value: Any, kind: Any) -> Any:
    return jnp.asarray(value) if kind is None else jax.random.wrap_key_data(value, impl=kind)


class _Investigation:
    """A search in a thread of its own, which is waited for while it makes progress.

    The callback's thread belongs to JAX's runtime. Where that has no other (a single core), the
    search stands still until the callback returns, and its result is delivered afterwards.
    """

    def __init__(self, find: Callable[..., Blame], tell: Callable[[Blame], Any] | None):
        self.find, self.tell = find, tell
        self.lock, self.last_step = threading.Lock(), time.monotonic()
        self.blame: Blame | None = None
        self.left = False
        self.thread = threading.Thread(target=self.work, name="nan_guard", daemon=True)

    def tick(self) -> None:
        self.last_step = time.monotonic()

    def work(self) -> None:
        try:
            blame = self.find(self.tick)
        except Exception as error:
            blame = Blame("NaN or infinity", None, note=f"the search failed: {error!r}")
        with self.lock:
            self.blame = blame
            late = self.left
        if late and self.tell is not None:
            self.tell(blame)
        elif late:
            logging.getLogger("funcnet").error("nan_guard: %s", blame)

    def wait(self) -> None:
        """Deliver the blame, or leave that to the thread if it stands still."""
        self.thread.start()
        while self.thread.is_alive() and time.monotonic() - self.last_step < _STALLED:
            self.thread.join(0.1)
        with self.lock:
            self.left = self.blame is None
        if self.blame is not None and self.tell is not None:
            self.tell(self.blame)
        elif self.tell is None:
            late = Blame("NaN or infinity", None, note="the log will say where it came from")
            raise NonFiniteError(str(self.blame or late))


def _is_traceable(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int | complex)


def _argument_name(fun: Callable[..., Any], path: str) -> str:
    """Turn the path of a leaf of ``(args, kwargs)`` into one that begins with the argument's name."""
    kind, _, rest = path.partition(".")
    return rest if kind == "1" else argument_path(fun, rest)
