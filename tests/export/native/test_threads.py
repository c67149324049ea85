"""One model, many threads: the first calls of all sizes at once, and errors that belong to their thread."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from tests.export.native.models import CASES
from tests.export.native.runner import PLUGINS, Library, Refused, plugin_path
from tests.export.native.writing import write

SIZES = (1, 2, 3)


@cache
def library():
    return Library()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = CASES["convolutions"]()
    file = tmp_path_factory.mktemp("threads") / "a.fnx"
    return write(file, made.entries, made.params, made.state, [{"batch": n} for n in SIZES])


@pytest.mark.parametrize("plugin", PLUGINS)
def test_calls_from_eight_threads(plugin, path):
    model = library().device(plugin_path(plugin)).open(path)
    images = np.random.default_rng(0).normal(size=(len(SIZES), 3, 1, 8, 8)).astype("f4")

    def work(number):
        size = SIZES[number % len(SIZES)]
        found = []
        for turn in range(30):
            (output,) = model.call("call", images[number % len(SIZES), :size].copy())
            found.append(output)
            if turn % 3 == number % 3:
                with pytest.raises(Refused, match=f"got F32.{number + 10}, 2"):
                    model.call("call", np.zeros((number + 10, 2), "f4"))
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for number, found in enumerate(results):
        size = SIZES[number % len(SIZES)]
        (alone,) = model.call("call", images[number % len(SIZES), :size].copy())
        for each in found:
            np.testing.assert_array_equal(each, alone)
    model.close()
