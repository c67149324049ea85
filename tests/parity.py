"""One driver for every layer and function that PyTorch also has.

A row names a class of ``torch.nn`` (or a function of ``torch.nn.functional``), its arguments and the
shapes of its inputs. The same arguments build both sides; ours takes PyTorch's weights by name. A row
then tests, in float64: the names and shapes of a fresh ``init``; outputs, gradients of inputs and
parameters, in evaluation and in three steps of training with the buffers they leave; jit and vmap; and in
float32 and bfloat16 that dtypes are kept. Everything of a row compiles once.

    ROWS = [
        Layer("Linear", (3, 4), inputs=[(5, 3)]),
        Layer("Embedding", (10, 3), inputs=[ints((2, 5), 10)]),
        Layer("TransformerEncoder", build=lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2),
              inputs=[(5, 2, 8)]),
        Function("relu", inputs=[(4, 3)]),
    ]

vmap and the other dtypes are tested on the first row of each name (and where a row asks for them).

    @pytest.mark.parametrize("row", rows(ROWS), ids=str)
    def test_row(row):
        check(row)
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn

RELATIVE = 1e-9
"""Float64 has 16 digits; sums of some thousand terms in another order cost a few of them."""

RELATIVE_32 = 1e-5
RELATIVE_BF16 = 3e-2
"""bfloat16 has 8 bits of mantissa; a layer rounds a few times."""


def ints(
    shape: tuple[int, ...], high: int, low: int = 0
) -> Callable[[np.random.Generator], np.ndarray]:
    """An integer input."""
    return lambda rng: rng.integers(low, high, shape)


def bools(
    shape: tuple[int, ...], chance: float = 0.5
) -> Callable[[np.random.Generator], np.ndarray]:
    """A boolean input, True with the given chance."""
    return lambda rng: rng.random(shape) < chance


def uniform(
    shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> Callable[[np.random.Generator], np.ndarray]:
    """A float input between two numbers."""
    return lambda rng: rng.uniform(low, high, shape)


def values(array: Any) -> Callable[[np.random.Generator], np.ndarray]:
    """An input given by its values."""
    return lambda rng: np.asarray(array)


@dataclass(frozen=True, eq=False)
class Row:
    """One configuration of one layer or function.

    Inputs are shapes (normal floats), makers such as `ints`, or plain values passed as they are. Keyword
    arguments of the call are given by ``call`` in the same way. ``ours`` and ``theirs`` replace the call where
    the two sides' calls are spelled differently.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: Any = ()
    call: dict[str, Any] = field(default_factory=dict)
    build: Callable[[Any], Any] | None = None
    ours: Callable[..., Any] | None = None
    theirs: Callable[..., Any] | None = None
    train: bool = True
    """Compare three steps of training too (off where training draws random numbers)."""
    dtypes: bool | None = None
    """Run in float32 and bfloat16 too; by default, the first row of a name does."""
    vmap: bool | None = None
    """Likewise for a vmapped call."""
    gradients: bool = True
    relative: float = RELATIVE
    """Widen only with the reason in a comment beside it."""
    note: str = ""

    def __str__(self) -> str:
        shown = [*(map(_short, self.args)), *(f"{k}={_short(v)}" for k, v in self.kwargs.items())]
        shapes = [_short(i) for i in self.inputs if isinstance(i, tuple)]
        calls = [f"{k}={_short(v)}" for k, v in self.call.items()]
        return f"{self.name}({','.join(shown)})[{';'.join(shapes + calls)}]{self.note}"


class Layer(Row):
    """A class of ``nn``."""


class Function(Row):
    """A function of ``functional``; ``args`` and ``kwargs`` follow the inputs."""


def rows(several: list[Row]) -> list[Row]:
    """Let the first row of each name test vmap and dtypes, where the row does not say."""
    seen: set[str] = set()
    marked = []
    for row in several:
        first = row.name not in seen
        seen.add(row.name)
        settings = {name: first for name in ("vmap", "dtypes") if getattr(row, name) is None}
        marked.append(replace(row, **settings))
    return marked


def _short(value: Any) -> str:
    text = getattr(value, "__name__", None) or str(value)
    return text.replace(" ", "") if len(text) < 40 else type(value).__name__


def _arrays(row: Row, seed: int) -> tuple[list[Any], dict[str, Any]]:
    rng = np.random.default_rng([zlib.crc32(str(row).encode()), seed])

    def make(item: Any) -> Any:
        if isinstance(item, tuple) and all(isinstance(n, int) for n in item):
            return rng.standard_normal(item)
        if isinstance(item, list):
            return [make(part) for part in item]
        if isinstance(item, tuple):
            return tuple(make(part) for part in item)
        return item(rng) if callable(item) else item

    return [make(item) for item in row.inputs], {k: make(v) for k, v in row.call.items()}


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, jax.Array))


def _is_float(value: Any) -> bool:
    return _is_array(value) and jnp.issubdtype(value.dtype, jnp.inexact)


def _outputs(value: Any) -> list[Any]:
    """Flatten nested outputs of either library; None is left out."""
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _outputs(part)]
    return [] if value is None else [value]


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed, uneven cotangents, so that no gradient cancels."""
    return np.cos(np.arange(int(np.prod(shape)), dtype=np.float64) * 0.7 + 0.3).reshape(shape)


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if _is_float(x) else x, tree)


# --- the two sides ------------------------------------------------------------------------------


def _torch_side(row: Row, train: bool, steps: int) -> tuple[Any, list[Any]]:
    """Return the module's initial state dict and, a step each: outputs, gradients, state."""
    import torch

    torch.manual_seed(zlib.crc32(str(row).encode()))
    if isinstance(row, Layer):
        module = (
            row.build(torch.nn)
            if row.build
            else getattr(torch.nn, row.name)(*row.args, **row.kwargs)
        )
        module = module.double().train(train)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        function = module
    else:
        module = None
        plain = getattr(torch.nn.functional, row.name)
        function = lambda *inputs, **call: plain(*inputs, *row.args, **row.kwargs, **call)
    initial = (
        {k: v.detach().clone().numpy() for k, v in module.state_dict().items()} if module else {}
    )
    records = []
    for step in range(steps):
        inputs, call = _arrays(row, step)

        def tensor(x: Any) -> Any:
            if isinstance(x, (list, tuple)):
                return type(x)(tensor(part) for part in x)
            return torch.from_numpy(x.copy()).requires_grad_(_is_float(x)) if _is_array(x) else x

        tensors, keywords = [tensor(x) for x in inputs], {k: tensor(v) for k, v in call.items()}
        run = row.theirs(function) if row.theirs else function
        outputs = _outputs(run(*tensors, **keywords))
        leaves = [
            t for t in _flat((tensors, keywords)) if isinstance(t, torch.Tensor) and t.requires_grad
        ]
        parameters = dict(module.named_parameters()) if module else {}
        grads: Any = None
        if row.gradients:
            total = sum(
                (o * torch.from_numpy(_weights(tuple(o.shape)))).sum()
                for o in outputs
                if o.is_floating_point()
            )
            wanted = [*leaves, *parameters.values()]
            found = (
                torch.autograd.grad(total, wanted, allow_unused=True)
                if wanted and getattr(total, "requires_grad", False)
                else [None] * len(wanted)
            )
            found = [
                np.zeros(w.shape) if g is None else g.numpy()
                for w, g in zip(wanted, found, strict=True)
            ]
            grads = found[: len(leaves)], dict(zip(parameters, found[len(leaves) :], strict=True))
        after = (
            {k: v.detach().clone().numpy() for k, v in module.state_dict().items()}
            if module
            else {}
        )
        records.append(([o.detach().numpy() for o in outputs], grads, after))
    return initial, records


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _flat(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _flat(part)]
    return [value]


def _our_module(row: Row) -> Any:
    if isinstance(row, Function):
        plain = getattr(fn.functional, row.name)
        run = lambda *inputs, **call: plain(*inputs, *row.args, **row.kwargs, **call)

        class Plain(fn.Module):
            def __call__(self, *inputs: Any, **call: Any) -> Any:
                return (row.ours(run) if row.ours else run)(*inputs, **call)

        return Plain()
    module = row.build(fn.nn) if row.build else getattr(fn.nn, row.name)(*row.args, **row.kwargs)
    return module


def _our_apply(row: Row, module: Any, train: bool) -> Callable[..., Any]:
    if isinstance(row, Layer) and row.ours:

        def call(params: Any, state: Any, inputs: Any, keywords: Any) -> Any:
            bound = fn.bind(module, params, state, train=train)
            output = row.ours(bound)(*inputs, **keywords)
            return _outputs(output), fn.unbind(bound)[1]

        return call
    net = fn.functionalize(module)

    def apply(params: Any, state: Any, inputs: Any, keywords: Any) -> Any:
        output, new = net.apply(params, state, *inputs, train=train, **keywords)
        return _outputs(output), new

    return apply


def _our_step(row: Row, module: Any, train: bool) -> Callable[..., Any]:
    """One jitted function: outputs, new state, and gradients of inputs and parameters together."""
    apply = _our_apply(row, module, train)

    @jax.jit
    def step(params: Any, state: Any, arrays: list[Any], floats: list[Any]) -> Any:
        def weighted(params: Any, floats: list[Any]) -> Any:
            inputs, keywords = _merge(row, arrays, floats)
            outputs, new = apply(params, state, inputs, keywords)
            total = sum(
                (jnp.sum(o * _weights(o.shape).astype(o.dtype)) for o in outputs if _is_float(o)),
                start=jnp.zeros(()),
            )
            return total, (outputs, new)

        if not row.gradients:
            return (*weighted(params, floats)[1], None)
        (_, (outputs, new)), grads = jax.value_and_grad(weighted, (0, 1), has_aux=True)(
            params, floats
        )
        return outputs, new, grads

    return step


def _split(row: Row, seed: int) -> tuple[list[Any], list[Any]]:
    """The array inputs of a step: non-float ones, and float ones."""
    inputs, call = _arrays(row, seed)
    leaves = [x for x in _flat((inputs, call)) if _is_array(x)]
    return [jnp.asarray(x) for x in leaves if not _is_float(x)], [
        jnp.asarray(x) for x in leaves if _is_float(x)
    ]


def _merge(row: Row, arrays: list[Any], floats: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Put (traced) arrays back where the row's inputs have them."""
    others, reals = iter(arrays), iter(floats)

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: fill(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(fill(v) for v in value)
        if _is_array(value):
            return next(reals) if _is_float(value) else next(others)
        return value

    inputs, call = fill(list(_arrays(row, 0)))
    return inputs, call


# --- the comparison -----------------------------------------------------------------------------


def close(ours: Any, theirs: Any, relative: float, what: str) -> None:
    """Compare relative to the largest magnitude of the array: zeros next to large numbers are rounding."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, PyTorch has {theirs.shape}"
    if theirs.size == 0:
        return
    finite = theirs[np.isfinite(theirs)] if np.issubdtype(theirs.dtype, np.floating) else theirs
    scale = max(1.0, float(np.abs(finite.astype(np.float64)).max())) if finite.size else 1.0
    np.testing.assert_allclose(
        ours.astype(np.float64),
        theirs.astype(np.float64),
        rtol=relative,
        atol=relative * scale,
        err_msg=what,
    )


def check(row: Row) -> None:
    """Run everything that a row stands for."""
    pytest.importorskip("torch")
    with jax.enable_x64(True):
        module = _our_module(row)
        for train in (False, True) if row.train and isinstance(row, Layer) else (False,):
            initial, records = _torch_side(row, train, 3 if train else 1)
            params, state = fn.load_state_dict(module, initial)
            _check_init(row, module, initial)
            step = _our_step(row, module, train)
            for seed, (outputs, grads, after) in enumerate(records):
                ours, state, our_grads = step(params, state, *_split(row, seed))
                mode = f"{'training' if train else 'evaluation'}, step {seed}"
                assert len(ours) == len(outputs), f"{len(ours)} outputs, PyTorch has {len(outputs)}"
                for i, (a, b) in enumerate(zip(ours, outputs, strict=True)):
                    close(a, b, row.relative, f"{mode}: output {i}")
                if row.gradients:
                    _check_gradients(row, module, our_grads, grads, mode)
                named = fn.state_dict(module, params, state)
                for name, value in after.items():
                    close(named[name], value, row.relative, f"{mode}: state {name}")
            if row.vmap and not train:
                _check_vmap(row, module, params, state, records[0][0])
    if row.dtypes:
        _check_dtypes(row, module, initial)


def _check_init(row: Row, module: Any, initial: dict[str, np.ndarray]) -> None:
    if isinstance(row, Function) or not initial:
        return
    params, state = jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))
    names = {
        name: tuple(array.shape) for name, array in fn.state_dict(module, params, state).items()
    }
    assert names == {name: array.shape for name, array in initial.items()}


def _check_gradients(row: Row, module: Any, ours: Any, theirs: Any, mode: str) -> None:
    for i, (a, b) in enumerate(zip(ours[1], theirs[0], strict=True)):
        close(a, b, row.relative, f"{mode}: gradient of float input {i}")
    named = fn.state_dict(module, ours[0]) if theirs[1] else {}
    for name, value in theirs[1].items():
        close(named[name], value, row.relative, f"{mode}: gradient of {name}")


def _check_vmap(row: Row, module: Any, params: Any, state: Any, outputs: list[Any]) -> None:
    """A call vmapped over the float inputs gives each example's own answer."""
    apply = _our_apply(row, module, train=False)

    def run(arrays: list[Any], floats: list[Any]) -> Any:
        return apply(params, state, *_merge(row, arrays, floats))[0]

    arrays, floats = _split(row, 0)
    if not floats:
        return
    batched = jax.jit(jax.vmap(run, in_axes=(None, 0)))(
        arrays, [jnp.stack([x * 0.5, x]) for x in floats]
    )
    for i, (a, b) in enumerate(zip(batched, outputs, strict=True)):
        close(a[1], b, row.relative, f"vmap: output {i}")


def _check_dtypes(row: Row, module: Any, initial: dict[str, np.ndarray]) -> None:
    """Float32 and bfloat16 in, the same out, near the float64 answer."""
    with jax.enable_x64(True):
        params, state = fn.load_state_dict(module, initial)
        apply = jax.jit(
            lambda p, s, a, f: _our_apply(row, module, train=False)(p, s, *_merge(row, a, f))[0]
        )
        arrays, floats = _split(row, 0)
        exact = apply(params, state, arrays, floats)
        for dtype, relative in ((jnp.float32, RELATIVE_32), (jnp.bfloat16, RELATIVE_BF16)):
            cast = _cast((params, state, floats), dtype)
            outputs = apply(cast[0], cast[1], arrays, cast[2])
            wide = _cast(cast, jnp.float64)  # the same rounded numbers, computed exactly
            rounded = apply(wide[0], wide[1], arrays, wide[2])
            for i, (a, b, c) in enumerate(zip(outputs, exact, rounded, strict=True)):
                assert not _is_float(b) or a.dtype == dtype, (
                    f"output {i} has dtype {a.dtype} for {dtype.__name__} inputs"
                )
                if _is_float(b):
                    close(a, c, relative, f"{dtype.__name__}: output {i}")


def check_raises(row: Row) -> None:
    """PyTorch refuses these arguments or inputs; so do we, with an exception of its usual kind."""
    pytest.importorskip("torch")
    with pytest.raises(Exception):  # noqa: B017 - torch raises many kinds
        _torch_side(row, False, 1)

    def run() -> None:
        module = _our_module(row)
        params, state = fn.functionalize(module).init(jax.random.key(0))
        _our_apply(row, module, train=False)(params, state, *_merge(row, *_split(row, 0)))

    with pytest.raises((ValueError, TypeError, IndexError, RuntimeError, NotImplementedError)):
        run()
