"""Per-example work, maps, loops, and what leaves a function as it is, as operators."""

import math
from types import SimpleNamespace

import jax.numpy as jnp

from funcnet import transforms as T
from tests.transforms.composition.base import (
    D_TWICE,
    HALF,
    OFFSET,
    cheap_key,
    line,
    operator,
    row_dtype,
)
from tests.transforms.composition.rows import (
    IDENTITY,
    TWICE,
    is_moving,
    shifted,
    times,
)


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


@operator("call", IDENTITY, "remat", "checkpoint")
def remat(row, f):
    return T.remat(f, policy="nothing")


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
