"""Every model by every way out of Python, at several batches: the outputs are those of JAX.

A sample runs by default: each model by each route that is installed, with one of its functions. ``--grid=full`` is all
functions, both dtypes and all batches.
"""

import zlib
from importlib.util import find_spec

import jax
import pytest

from tests.export import routes
from tests.export.cases import BATCHES, CASES, DTYPES, TOLERANCE


def pytest_generate_tests(metafunc):
    """Lay out the grid, or choose of it by a number that every name gives: the same in every run."""
    if "case" not in metafunc.fixturenames:
        return
    whole = metafunc.config.getoption("grid") == "full"
    rows = []
    for route in routes.ROUTES:
        for case in CASES.values():
            for dtype in DTYPES:
                for function in case.functions:
                    rows.append((case, function, dtype, route))
    if not whole:
        rows = sampled(rows)
    ids = [f"{route}-{case.name}.{function}-{dtype}" for case, function, dtype, route in rows]
    metafunc.parametrize(("case", "function", "dtype", "route"), rows, ids=ids)


def number_of(*words):
    return zlib.crc32(" ".join(words).encode())


def sampled(rows):
    """Of each model and route one function in one dtype, float32 three times of four; of slow routes a few models."""
    groups = {}
    for row in rows:
        groups.setdefault(row[3], {}).setdefault(row[0].name, []).append(row)
    chosen = []
    for route, models in groups.items():
        way = routes.ROUTES[route]
        fewer = sorted(models, key=lambda name: number_of(name, route))[: way.sample]
        chosen += [one_of(models[name], number_of(name, route)) for name in models if name in fewer]
    return chosen


def one_of(rows, number):
    """Choose a function and a dtype of a model."""
    asked = "bfloat16" if number % 4 == 0 else "float32"
    dtype = asked if asked in routes.ROUTES[rows[0][3]].dtypes else "float32"
    same = [row for row in rows if row[2] == dtype]
    return same[number // 16 % len(same)]


def test_outputs_are_those_of_jax(case, function, dtype, route, tmp_path, request):
    way = routes.ROUTES[route]
    missing = [each for each in way.needs if find_spec(each.partition(".")[0]) is None]
    if missing or dtype not in way.dtypes:
        pytest.skip(f"not installed: {missing}" if missing else f"{route} is not for {dtype}")
    whole = request.config.getoption("grid") == "full"
    batches = BATCHES if whole else (1, BATCHES[1 + number_of(route, case.name) % 3])
    model = case.model(DTYPES[dtype])
    if way.reports:
        assert way.prepare(model, function, tmp_path).error <= TOLERANCE[dtype]
        return
    run = way.prepare(model, function, tmp_path, batches)
    for batch in batches:
        found = run(jax.tree.leaves(model.example(function, batch)))
        expected = model.reference(function, batch)
        assert [each.dtype for each in found] == [each.dtype for each in expected]
        assert model.far(function, batch, found) <= TOLERANCE[dtype], f"batch {batch}"
