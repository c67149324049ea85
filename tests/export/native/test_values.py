"""What the runner computes, on every plugin, beside JAX."""

from functools import cache

import jax
import numpy as np
import pytest

from funcnet.export.flat import flatten_entry
from tests.export.native.models import CASES
from tests.export.native.runner import PLUGINS, Library, plugin_path
from tests.export.native.writing import write


@cache
def library():
    return Library()


@cache
def device(plugin):
    return library().device(plugin_path(plugin))


@cache
def case(name):
    return CASES[name]()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")

    @cache
    def make(name):
        made, path = case(name), folder / f"{name}.fnx"
        flats = [flatten_entry(each, made.params, made.state) for each in made.entries.values()]
        symbols = next((flat.symbols for flat in flats if flat.symbols), ())
        sizes = [dict.fromkeys(symbols, size) for size in made.sizes]
        return write(path, made.entries, made.params, made.state, sizes)

    return make


@cache
def expected(name, size):
    made = case(name)
    found = []
    for function, inputs in made.calls(size):
        flat = flatten_entry(made.entries[function], made.params, made.state)
        found.append(jax.jit(flat.call)(list(flat.weights.values()), inputs))
    return found


def assert_same(got, want, tolerance):
    want = np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if want.dtype.kind in "biu" or want.size == 0:
        np.testing.assert_array_equal(got, want)
        return
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    got, want = got.astype(wide), want.astype(wide)
    assert np.abs(got - want).max() <= tolerance * max(np.abs(want).max(), 1e-30)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_output_is_that_of_jax(plugin, name, written):
    model = device(plugin).open(written(name))
    for size in case(name).sizes:
        calls = case(name).calls(size)
        for (function, inputs), wanted in zip(calls, expected(name, size), strict=True):
            for _ in range(2):  # compiled, then kept
                for got, want in zip(model.call(function, *inputs), wanted, strict=True):
                    assert_same(got, want, case(name).tolerance)
    model.close()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_cache_stays_on_the_device(plugin, written):
    """Ten steps with tensors give what ten steps with arrays give, and inputs may be used again."""
    model = device(plugin).open(written("functions_with_a_cache"))
    (_, [tokens]), (_, [token, _, _]) = case("functions_with_a_cache").calls(3)
    array = model.call("prefill", tokens)[0]
    tensor = model.run("prefill", device(plugin).tensor(tokens))[0]
    one = device(plugin).tensor(token)
    for place in range(3, 6):
        at = np.array(place, np.int32)
        array, logits = model.call("step", token, array, at)
        at_tensor = device(plugin).tensor(at)
        again = model.run("step", one, tensor, at_tensor)
        following, own_logits = model.run("step", one, tensor, at_tensor)
        np.testing.assert_array_equal(model.read(own_logits), logits)
        np.testing.assert_array_equal(model.read(again[0]), model.read(following))
        for each in (tensor, at_tensor, own_logits, *again):
            library().c.fn_tensor_free(each)
        tensor = following
    np.testing.assert_array_equal(model.read(tensor), array)
    for each in (tensor, one):
        library().c.fn_tensor_free(each)
    model.close()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_names_shapes_and_dtypes_are_told(plugin, written):
    model = device(plugin).open(written("functions_with_a_cache"))
    c = library().c
    names = [c.fn_function_name(model.handle, i) for i in range(3)]
    assert (names, c.fn_function_count(model.handle)) == ([b"prefill", b"step", None], 2)
    assert model.arity("step") == (3, 2)
    cache = model.spec("step", 1)
    assert (cache.name, cache.text, list(cache.shape[:3])) == (
        b"cache",
        b"F32[batch, 6, 8]",
        [-1, 6, 8],
    )
    place = model.spec("step", 2)
    assert (place.text, place.rank, c.fn_dtype_name(place.dtype)) == (b"I32[]", 0, b"I32")
    assert model.spec("step", 1, "output").text == b"F32[batch, 11]"
    assert device(plugin).platform == "cpu"
    model.close()
