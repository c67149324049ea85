"""Every transform as an operator from functions of trees to functions of trees.

Each operator's effect on ``phi`` is a polynomial of `rows`, linear in the function, so that any
composition has an answer in closed form. A transform with options that change its way of working
is several operators.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import transforms as T
from tests.transforms.rows import (
    IDENTITY,
    TWICE,
    D,
    Polynomial,
    Row,
    along,
    contract,
    contract_twice,
    is_moving,
    plus,
    shifted,
    times,
)

Function = Callable[[Any], Any]
HALF: Polynomial = {(0, 0): 0.5}
VALUE_AND_D = plus(IDENTITY, D)
DD = times(D, D)
D_TWICE = times(D, TWICE)
# Larger than any slope in the grid: the norm of slope + OFFSET is linear in the slope.
OFFSET = 16.0


@dataclass(frozen=True)
class Operator:
    """A transform, or several, from functions to functions.

    Attributes:
        name: of the operator.
        kind: those of a kind do their work in the same way.
        transforms: the public names that it tests.
        apply: ``(row, function) -> function``.
        effect: on ``phi``.
        real_only: whether it is defined for real functions only.
        first: ``"forward"`` or ``"reverse"``, whichever derivative the function meets first, if any.
    """

    name: str
    kind: str
    transforms: tuple[str, ...]
    apply: Callable[[Row, Function], Function]
    effect: Polynomial
    real_only: bool
    first: str | None

    def __str__(self) -> str:
        return self.name


OPERATORS: dict[str, Operator] = {}

# Public names that are no operators.
REASONS = {
    "Blame": "a record",
    "Ensemble": "a record",
    "Lanczos": "a record",
    "Site": "a record",
    "check_grads": "returns nothing: it compares a function's derivatives at concrete numbers",
    "compilation_cache": "a setting of the process",
}


def operator(kind: str, effect: Polynomial, *transforms: str, real_only=False, first=None):
    """Register an operator; ``first`` is the kind of derivative that the function meets first."""

    def register(apply):
        name = apply.__name__
        OPERATORS[name] = Operator(name, kind, transforms, apply, effect, real_only, first)
        return apply

    return register


def line(row: Row, f: Function, tree) -> Callable[[Any], Any]:
    """Return ``phi``: the function along the direction."""
    return lambda by: f(shifted(row, tree, by))


def twin(f: Function):
    """Return the function with its value as an auxiliary output too."""

    def with_aux(*args):
        value = f(*args)
        return value, {"value": value, "count": 3}

    return with_aux


def zeros(tree):
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if is_moving(leaf) else None, tree)


def cheap_key():
    return jax.random.key(0, impl="unsafe_rbg")


# ---- first derivatives


@operator("reverse", D, "grad", first="reverse")
def grad(row, f):
    return lambda x: contract(row, T.grad(f, holomorphic=row.is_complex)(x))


@operator("reverse", VALUE_AND_D, "grad", first="reverse")
def grad_wrt_with_aux(row, f):
    split = lambda p: f(p["moving"]) * p["frozen"].astype(row_dtype(row))
    gradient = T.grad(twin(split), 0, True, row.is_complex, wrt="moving*")

    def summed(x):
        found, aux = gradient({"moving": x, "frozen": jnp.float32(1.0)})
        assert found["frozen"] is None
        return contract(row, found["moving"]) + aux["value"]

    return summed


@operator("reverse", VALUE_AND_D, "value_and_grad", first="reverse")
def value_and_grad(row, f):
    both = T.value_and_grad(lambda n, x: f(x), argnums=-1, holomorphic=row.is_complex)

    def summed(x):
        value, gradient = both(3, x)
        return value + contract(row, gradient)

    return summed


@operator("in chunks", times(HALF, times(VALUE_AND_D, TWICE)), "value_and_grad", first="reverse")
def value_and_grad_microbatches(row, f):
    def loss(x, state, batch):
        values = T.vmap(lambda by: f(shifted(row, x, by)))(batch["by"])
        return values.mean(), ({"count": state["count"] + 1}, {"weight": jnp.float32(3.0)})

    both = T.value_and_grad(
        loss,
        has_aux=True,
        holomorphic=row.is_complex,
        microbatches=2,
        threaded="state",
        weight=lambda aux: aux[1]["weight"],
    )

    def summed(x):
        state, batch = {"count": jnp.array(0)}, {"by": jnp.arange(2.0), "n": jnp.arange(2)}
        (value, (_, _)), gradient = both(x, state, batch)
        return value + contract(row, gradient)

    return summed


@operator("forward", D, "jvp", first="forward")
def jvp(row, f):
    return lambda x: T.jvp(f, (x,), (along(row, x),))[1]


@operator("reverse", D, "vjp", first="reverse")
def vjp(row, f):
    def pulled(x):
        value, pullback, _ = T.vjp(twin(f), x, has_aux=True)
        return contract(row, pullback(jnp.ones_like(value))[0])

    return pulled


@operator("forward", D, "linearize", first="forward")
def linearize(row, f):
    return lambda x: T.linearize(twin(f), x, has_aux=True)[1](along(row, x))


@operator("forward", D, "jacfwd", first="forward")
def jacfwd(row, f):
    return lambda x: contract(row, T.jacfwd(f, holomorphic=row.is_complex)(x))


@operator("reverse", D, "jacrev", first="reverse")
def jacrev(row, f):
    return lambda x: contract(row, T.jacrev(f, holomorphic=row.is_complex)(x))


def _in_chunks(jacobian, row, f):
    pair = lambda x, n: twin(lambda x: {"y": f(x), "n": n})(x)
    chunked = jacobian(pair, (0, 1), True, row.is_complex, chunk_size=1)

    def contracted(x):
        found, aux = chunked(x, jnp.array(2))
        return contract(row, found["y"][0]) + aux["value"]["y"]

    return contracted


@operator("in chunks", VALUE_AND_D, "jacfwd", first="forward")
def jacfwd_in_chunks(row, f):
    return _in_chunks(T.jacfwd, row, f)


@operator("in chunks", VALUE_AND_D, "jacrev", first="reverse")
def jacrev_in_chunks(row, f):
    return _in_chunks(T.jacrev, row, f)


# ---- second derivatives


@operator("second", DD, "hessian", first="reverse")
def hessian(row, f):
    matrix = T.hessian(f, holomorphic=row.is_complex)
    return lambda x: contract_twice(row, x, matrix(x))


@operator("in chunks", DD, "hessian", first="reverse")
def hessian_in_chunks(row, f):
    matrix = T.hessian(twin(f), 0, True, row.is_complex, chunk_size=1)
    return lambda x: contract_twice(row, x, matrix(x)[0])


@operator("second", DD, "hvp", real_only=True, first="reverse")
def hvp(row, f):
    return lambda x: contract(row, T.hvp(twin(f), (x,), (along(row, x),), True)[1][0])


@operator("second", DD, "vhp", real_only=True, first="reverse")
def vhp(row, f):
    return lambda x: contract(row, T.vhp(f, (x,), (along(row, x),))[1][0])


@operator("second", DD, "gauss_newton_vp", real_only=True, first="reverse")
def gauss_newton_vp(row, f):
    return lambda x: contract(row, T.gauss_newton_vp(lambda x: x, f, (x,), (along(row, x),))[1][0])


def _along_a_unit(product, row, f):
    """Use a product with ``J^T J`` whose first factor, by a parameter of its own, is one."""

    def sloped(x):
        model = lambda x, shift: (f(x) + shift)[None]
        tangents = (zeros(x), jnp.float32(1.0))
        return contract(row, product(model, (x, jnp.float32(0.0)), tangents)[1][0])

    return sloped


@operator("forward", D, "fisher_vp", real_only=True, first="forward")
def fisher_vp(row, f):
    return _along_a_unit(lambda *args: T.fisher_vp(*args, likelihood="normal"), row, f)


@operator("forward", D, "empirical_fisher_vp", real_only=True, first="forward")
def empirical_fisher_vp(row, f):
    return _along_a_unit(T.empirical_fisher_vp, row, f)


@operator("in chunks", D, "ntk", real_only=True, first="forward")
def ntk(row, f):
    def between(x):
        phi = line(row, f, x)
        fun = lambda p, by: (1 - by) * p["by"] + by * phi(p["by"])
        params = {"by": jnp.float32(0.0), "n": jnp.array(2)}
        return T.ntk(fun, params, jnp.array([0.0]), jnp.array([1.0]))[0, 0, 0, 0]

    return between


@operator("second", DD, "laplacian", real_only=True, first="forward")
def laplacian(row, f):
    def summed(x):
        phi = line(row, f, x)
        start = {"by": jnp.float32(0.0), "n": jnp.array(2), "empty": jnp.zeros((0,))}
        return T.laplacian(lambda p: {"y": phi(p["by"])}, chunk_size=1)(start)["y"]

    return summed


def _estimated(estimate):
    """Give an estimate of a matrix's properties the second derivative along the line."""

    def build(row, f):
        def estimated(x):
            phi = line(row, f, x)
            fun = lambda p: phi(p["by"])
            like = {"by": jnp.float32(0.0), "n": jnp.array(2)}
            return estimate(lambda v: T.hvp(fun, (like,), (v,))[1][0], like, cheap_key())

        return estimated

    return build


@operator("estimate", DD, "hutchinson_diagonal", real_only=True, first="reverse")
def hutchinson_diagonal(row, f):
    return _estimated(lambda *args: T.hutchinson_diagonal(*args, samples=1)["by"])(row, f)


@operator("estimate", DD, "hutchinson_trace", real_only=True, first="reverse")
def hutchinson_trace(row, f):
    return _estimated(lambda *args: T.hutchinson_trace(*args, samples=1))(row, f)


@operator("estimate", DD, "lanczos", real_only=True, first="reverse")
def lanczos(row, f):
    return _estimated(lambda *args: T.lanczos(*args, steps=1).eigenvalues[0])(row, f)


@operator("estimate", DD, "top_eigenvalues", real_only=True, first="reverse")
def top_eigenvalues(row, f):
    return _estimated(lambda *args: T.top_eigenvalues(*args)[0][0])(row, f)


@operator("estimate", DD, "spectral_density", real_only=True, first="reverse")
def spectral_density(row, f):
    def eigenvalue(*args):
        # the logarithm of a Gaussian at -1 and at 1 differs by twice its centre over the variance
        points, width = jnp.array([-1.0, 1.0]), 4.0
        density = T.spectral_density(*args, points, width=width, steps=1, samples=1)
        return (jnp.log(density[1]) - jnp.log(density[0])) * width**2 / 2

    return _estimated(eigenvalue)(row, f)


# ---- one gradient for each example


def _of_examples(row, f, transform, offset=0.0):
    def of_batch(x):
        phi = line(row, f, x)
        loss = lambda p, by: phi(p["by"] + by) + offset * p["by"]
        params = {"by": jnp.float32(0.0), "n": jnp.array(2)}
        return transform(loss, params, jnp.arange(2.0))

    return of_batch


@operator("examples", D_TWICE, "per_example_grad", real_only=True, first="reverse")
def per_example_grad(row, f):
    return _of_examples(
        row, f, lambda loss, *args: T.per_example_grad(loss, chunk_size=1)(*args)["by"].sum()
    )


@operator("examples", D_TWICE, "per_example_norms", real_only=True, first="reverse")
def per_example_norms(row, f):
    norms = lambda loss, *args: (T.per_example_norms(loss)(*args) - OFFSET).sum()
    return _of_examples(row, f, norms, OFFSET)


@operator("examples", D_TWICE, "clipped_grad", real_only=True, first="reverse")
def clipped_grad(row, f):
    return _of_examples(
        row, f, lambda loss, *args: T.clipped_grad(loss, 1e6, chunk_size=1)(*args)[0]["by"]
    )


@operator("examples", times(HALF, D_TWICE), "private_grad", real_only=True, first="reverse")
def private_grad(row, f):
    return _of_examples(
        row,
        f,
        lambda loss, *args: T.private_grad(loss, 1e6, 0.0)(cheap_key(), *args)[0]["by"],
    )


# ---- maps and loops


@operator("map", TWICE, "vmap")
def vmap(row, f):
    return lambda x: T.vmap(line(row, f, x))(jnp.arange(2.0)).sum()


@operator("map", TWICE, "vmap")
def vmap_in_chunks(row, f):
    def both(x):
        phi = line(row, f, x)

        def one(batch, key, n):
            return {"y": phi(batch["by"])[None], "n": n}

        mapped = T.vmap(
            one,
            ({"by": -1, "n": None}, None, None),
            {"y": -1, "n": None},
            chunk_size=1,
            randomness="different",
        )
        return mapped({"by": jnp.arange(2.0), "n": 3}, cheap_key(), 3)["y"].sum()

    return both


@operator("map", TWICE, "chunked")
def chunked(row, f):
    return lambda x: T.chunked(T.vmap(line(row, f, x)), 1)(jnp.arange(2.0)).sum()


@operator("map", TWICE, "ensemble")
def ensemble(row, f):
    def averaged(x):
        def apply(params, state, x, *, key):
            return f(shifted(row, x, params["by"])), state

        models = T.ensemble(SimpleNamespace(init=lambda key: ({}, {}), apply=apply), 2)
        params = T.stack([{"by": jnp.float32(0.0)}, {"by": jnp.float32(1.0)}])
        return models.apply(params, {}, x)[0].sum()

    return averaged


@operator("map", TWICE, "stack", "unstack")
def stack_and_unstack(row, f):
    def both(x):
        trees = T.unstack(T.stack([x, shifted(row, x, 1.0)]))
        return f(trees[0]) + f(trees[1])

    return both


def _loop(row, f, **options):
    def looped(x):
        phi = line(row, f, x)
        step = lambda total, by: (total + phi(by), {"n": 1})
        return T.scan(step, jnp.zeros((), row_dtype(row)), **options)[0]

    return looped


def row_dtype(row):
    return jnp.result_type(complex if row.is_complex else float)


@operator("loop", TWICE, "scan")
def scan(row, f):
    return _loop(row, f, xs=jnp.arange(2.0))


@operator("loop", TWICE, "scan")
def scan_in_segments(row, f):
    return _loop(row, f, xs=jnp.arange(5.0), length=2, checkpoint="sqrt", reverse=True)


# ---- the same function again


@operator("call", IDENTITY, "jit")
def jit(row, f):
    return T.jit(f)


@operator("call", IDENTITY, "jit")
def jit_counted(row, f):
    named = T.jit(lambda x, sign: f(x) * sign, static="sign", max_traces=math.inf)
    return lambda x: named(x, 1)


@operator("call", IDENTITY, "checkpoint")
def checkpoint(row, f):
    return T.checkpoint(f, policy="nothing")


@operator("call", IDENTITY, "checkpoint", "checkpoint_name", "saving_policy")
def checkpoint_names(row, f):
    named = lambda x: T.checkpoint_name(f(x), "value")
    return T.checkpoint(named, policy=T.saving_policy("names", "value"))


@operator("jaxpr", IDENTITY, "nan_guard")
def nan_guard(row, f):
    return T.nan_guard(f)


@operator("jaxpr", IDENTITY, "strict")
def strict(row, f):
    return T.strict(f)


@operator("rule", IDENTITY, "partition", "merge")
def partition_and_merge(row, f):
    return lambda x: f(T.merge(*T.partition(x, lambda path, leaf: is_moving(leaf))))


# Even their value takes the function's linearisation.
@operator("implicit", IDENTITY, "root", real_only=True, first="forward")
def root(row, f):
    start = {"y": jnp.zeros((), row_dtype(row))}
    return lambda x: T.root(lambda y, x: {"y": 2 * (y["y"] - f(x))}, start, x)["y"]


@operator("implicit", IDENTITY, "fixed_point", real_only=True, first="forward")
def fixed_point(row, f):
    start = jnp.zeros((), row_dtype(row))
    return lambda x: T.fixed_point(lambda y, x: 0.01 * y + 0.99 * f(x), start, x)


@operator("rule", IDENTITY, "stop_gradient")
def stop_gradient(row, f):
    return lambda x: f(x) - (stopped := T.stop_gradient(f(x))) + stopped


@operator("rule", IDENTITY, "straight_through")
def straight_through(row, f):
    def rounded_and_back(x):
        y = f(x)
        return T.straight_through(jnp.round)(y) + T.stop_gradient(y - jnp.round(y))

    return rounded_and_back


@operator("rule", IDENTITY, "gradient_reversal")
def gradient_reversal(row, f):
    return lambda x: f(T.gradient_reversal(T.gradient_reversal(x), jnp.float32(1.0)))


@operator("rule", IDENTITY, "custom_gradient")
def custom_gradient(row, f):
    return T.custom_gradient(lambda x: T.vjp(f, x))
