"""What is saved and loaded is the function: all dtypes in all trees, at sizes that are open and fixed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import export
from funcnet.core.errors import ExportError
from tests.export.artifact.structures import (
    DTYPES,
    SHAPES,
    STRUCTURES,
    WIDE,
    arrays_of,
    assert_same_trees,
    specs_of,
)


def double(params, state, tree, flag):
    """Something that every dtype can do, with an array more that is passed on."""
    output = jax.tree.map(lambda a: ~a if a.dtype == bool else a + a, tree)
    return {"tree": output, "flag": flag}, state


def round_trip(path, structure, shape, dtype, rng):
    specs = specs_of(structure, shape, dtype)
    # the lengths of the flag make every symbol known
    flag = export.spec(("batch",) if "batch" in SHAPES[shape] else (1,), "bool")
    export.save(path, double, {}, {}, specs, flag, sizes=[{"batch": 2}] if flag.symbols else None)
    artifact = export.load(path)
    assert artifact.params == artifact.state == {}
    for size in (1, 2, 5) if flag.symbols else (1,):
        tree = arrays_of(specs, size, rng)
        given = jnp.zeros(size, bool)
        assert_same_trees(artifact(tree, given), double({}, {}, tree, given)[0])


def pytest_generate_tests(metafunc):
    """Each dtype in another tree and at other sizes; all products with ``--grid=full``."""
    if "structure" in metafunc.fixturenames:
        products = list(itertools.product(STRUCTURES, SHAPES, DTYPES))
        if metafunc.config.getoption("grid") != "full":
            trees, shapes = list(STRUCTURES), list(SHAPES)
            products = [
                (trees[i % len(trees)], shapes[i % len(shapes)], dtype)
                for i, dtype in enumerate(DTYPES)
            ]
        metafunc.parametrize(("structure", "shape", "dtype"), products)


def test_dtypes_in_trees_of_any_form(structure, shape, dtype, tmp_path, rng):
    round_trip(tmp_path / "m.fnx", structure, shape, dtype, rng)


def test_dtypes_of_64_bits(tmp_path, rng, x64):
    specs = [export.spec(("batch", 2), dtype) for dtype in WIDE]
    path = export.save(tmp_path / "m.fnx", double, {}, {}, specs, export.spec((), "bool"), sizes=[])
    trees = arrays_of(specs, 5, rng)
    flag = jnp.array(True)
    assert_same_trees(export.load(path)(trees, flag), double({}, {}, trees, flag)[0])


def test_64_bits_are_asked_for_where_they_are_off(tmp_path):
    with jax.enable_x64(True):
        params = {"w": jnp.ones(3, jnp.float64)}
        export.save(
            tmp_path / "m.fnx",
            lambda p, s, x: (x * p["w"], s),
            params,
            {},
            export.spec((3,), "float64"),
        )
    with pytest.raises(TypeError, match="jax_enable_x64"):
        export.load(tmp_path / "m.fnx")(np.ones(3))


def test_weights_of_all_dtypes(tmp_path, rng):
    dtypes = [dtype for dtype in DTYPES if dtype != "complex64"]
    params = {d: {"0": arrays_of(export.spec((3, 2), d), 1, rng)} for d in dtypes}
    params["b"] = [arrays_of(export.spec((), d), 1, rng) for d in dtypes]
    state = {"empty": jnp.zeros((0, 4), "bfloat16"), "list": [jnp.ones(1), (jnp.zeros(2, "int8"),)]}

    def give_all(params, state, x):
        return (params, x), state

    path = export.save(
        tmp_path / "m.fnx", give_all, params, state, export.spec((1,)), returns_state=True
    )
    artifact = export.load(path)
    assert_same_trees(artifact.params, params)
    assert_same_trees(artifact.state, state)
    (same, _), new = artifact(jnp.ones(1))
    assert_same_trees(same, params)
    assert_same_trees(new, state)


def test_a_function_without_inputs_outputs_or_weights(tmp_path):
    path = export.save(tmp_path / "m.fnx", lambda p, s: ((), s), {}, {})
    assert export.load(path)() == ()
    path = export.save(
        tmp_path / "m.fnx",
        lambda p, s: (None, s),
        {"w": jnp.ones(2)},
        {"n": jnp.int32(3)},
        returns_state=True,
    )
    assert export.load(path)() == (None, {"n": 3})


@pytest.mark.parametrize(
    ("sizes", "symbolic"),
    [(None, True), ([], True), ([{"batch": 1}, {"batch": 4}], False)],
    ids=["usual", "open", "fixed"],
)
def test_programs_are_those_that_were_asked_for(sizes, symbolic, tmp_path, rng):
    def mean(params, state, x):
        return x - x.mean(0, keepdims=True), state

    path = export.save(
        tmp_path / "m.fnx", mean, {}, {}, export.spec(("batch", 3)), sizes=sizes, symbolic=symbolic
    )
    artifact = export.load(path)
    asked = [{"batch": 1}, {"batch": 32}] if sizes is None else sizes
    assert [p.sizes for p in artifact["call"].record.programs] == [None] * symbolic + asked
    assert artifact["call"].record.outputs[0].shape == ("batch", 3)
    for size in (1, 2, 4):
        x = rng.standard_normal((size, 3)).astype(np.float32)
        if symbolic or {"batch": size} in asked:
            # sums in another order
            np.testing.assert_allclose(artifact(x), x - x.mean(0), rtol=1e-5, atol=1e-6)
        else:
            with pytest.raises(ExportError, match=r"fixed sizes alone: .*batch"):
                artifact(x)


def test_fixed_sizes_alone_have_to_be_told(tmp_path):
    with pytest.raises(ValueError, match="needs sizes"):
        export.save(
            tmp_path / "m.fnx",
            double,
            {},
            {},
            export.spec(("batch", 3)),
            export.spec(()),
            symbolic=False,
        )


def test_sizes_that_a_function_cannot_have_are_left_out_unless_asked_for(tmp_path, key):
    net = fn.functionalize(fn.nn.BatchNorm1d(3))
    params, state = net.init(key)
    path = export.save(
        tmp_path / "m.fnx",
        net,
        params,
        state,
        export.spec(("batch", 3)),
        train=True,
        returns_state=True,
    )
    assert [p.sizes for p in export.load(path)["call"].record.programs] == [None, {"batch": 32}]
    with pytest.raises(ValueError, match="more than one value"):
        export.save(
            path, net, params, state, export.spec(("batch", 3)), train=True, sizes=[{"batch": 1}]
        )
