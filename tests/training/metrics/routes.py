"""Ways to the same value: a batch as a whole, cut, padded with garbage, merged in any order, scanned."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

ROWS = 42

update = partial(jax.jit, static_argnums=0)(lambda metric, *data: metric.update(*data))
merge = jax.jit(
    lambda state, other: {name: part.merge(other[name]) for name, part in state.items()}
)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def dtypes(config, request):
    """All dtypes with ``--grid=full``, else the one that is a case's turn."""
    names = list(DTYPES)
    if request.config.getoption("grid") == "full":
        return names
    return [names[sum(map(ord, config)) % len(names)]]


def garbage(array, rows):
    """Rows that must not count: NaN, or a class that there is not."""
    array = np.asarray(array)
    kind = np.full((rows, *array.shape[1:]), 99).astype(array.dtype)
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != bool:
        kind = np.full((rows, *array.shape[1:]), np.nan).astype(array.dtype)
    return kind


def padded_batches(rng, outputs, targets, mask):
    """Cut into batches of a random number of rows, filled in random places, so that all have one shape."""
    start, full = 0, len(outputs)
    while start < full:
        stop = min(start + int(rng.integers(0, full // 2)), full)
        order = rng.permutation(full)
        filled = [
            np.concatenate([part[start:stop], garbage(part, full - (stop - start))])[order]
            for part in (outputs, targets)
        ]
        rows = np.concatenate([mask[start:stop], np.zeros(full - (stop - start), bool)])[order]
        yield (*filled, rows)
        start = stop


def states(metric, rng, outputs, targets, mask):
    """A state by each route."""
    yield "whole", update(metric, metric.init(), outputs, targets, mask)
    batches = list(padded_batches(rng, outputs, targets, mask))
    state = metric.init()
    for batch in batches:
        state = update(metric, state, *batch)
    yield "padded", state
    parts = [update(metric, metric.init(), *batch) for batch in batches]
    parts.append(metric.init())
    rng.shuffle(parts)
    while len(parts) > 1:  # a tree of random shape
        place = int(rng.integers(0, len(parts) - 1))
        parts[place : place + 2] = [merge(*parts[place : place + 2])]
    yield "merged", parts[0]


def check(metric, rng, outputs, targets, mask, expected, **tolerance):
    """Every route gives the reference's value, of one dtype."""
    tolerance = {"rtol": 2e-6, "atol": 1e-6} | tolerance  # float32 at the end of exact counts
    for route, state in states(metric, rng, outputs, targets, mask):
        found = np.asarray(metric.compute(state))
        assert found.dtype in (np.float32, np.int32)
        np.testing.assert_allclose(found, expected, err_msg=f"{metric} {route}", **tolerance)


def quietly(function, *args, **kwargs):
    """Call a reference that warns of what is not defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def masks(rng, rows=ROWS):
    """Which rows count: all, some, one, none."""
    one = np.zeros(rows, bool)
    one[rows // 2] = True
    some = rng.random(rows) < 0.6
    return {"all": np.ones(rows, bool), "some": some, "one": one, "none": np.zeros(rows, bool)}


def score_kinds(rng, classes, rows=ROWS):
    """Scores and class indices: spread, with many ties, of few classes, of one class."""
    spread = rng.standard_normal((rows, classes)).astype(np.float32)
    ties = np.round(spread * 2) / 2
    every, few = rng.integers(0, classes, rows), rng.integers(0, 2, rows)
    return {
        "spread": (spread, every),
        "ties": (ties, every),
        "few": (spread, few),
        "one": (spread, np.full(rows, classes - 1)),
    }
