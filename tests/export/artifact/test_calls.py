"""What a caller does wrong with a loaded function, and what save refuses, is told with names and what to write."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import export
from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.portable import lower_portably, read_signature, restored_call
from tests.export.artifact.damage import SOUND

X, IDS = np.zeros((2, 3), np.float32), np.zeros(2, np.int32)
CACHE = {"values": np.zeros((6, 1), np.float32), "length": 1}
BITS = np.zeros(2, np.uint32)


@pytest.fixture(scope="module")
def artifact():
    return export.load(SOUND)


CALLS = {
    "too few": (lambda a: a(X), TypeError, "takes 2 inputs: x, ids; got 1 by place; missing: ids"),
    "too many": (lambda a: a(X, IDS, 3), TypeError, "got 3 by place"),
    "unknown name": (lambda a: a(X, number=IDS), TypeError, "missing: ids; unknown: number"),
    "given twice": (lambda a: a(X, IDS, ids=IDS), TypeError, "unknown: ids"),
    "dtype": (lambda a: a(X.astype(bool), IDS), TypeError, r"x is float32\[batch, 3\], got bool\[2, 3\].*astype"),
    "axes": (lambda a: a(X[0], IDS), ValueError, "1 axes instead of 2"),
    "length": (lambda a: a(X[:, :2], IDS), ValueError, "axis 1 has length 3; got shape .2, 2."),
    "lengths that differ": (lambda a: a(X, IDS[:1]), ValueError, "batch is 2 by x, so axis 0 has length 2"),
    "none": (lambda a: a(X[:0], IDS[:0]), ValueError, "batch, a length of x, must be at least 1"),
    "no array": (lambda a: a("x", IDS), TypeError, "x is an array .*, got str"),
    "a number": (lambda a: a(1.0, IDS), TypeError, "got the number 1.0"),
    "no function": (lambda a: a["encode"], KeyError, "no function 'encode', but call, draw"),
    "a cache without": (lambda a: a["draw"]({"values": X}, BITS), TypeError, "missing: length"),
    "a cache with more": (lambda a: a["draw"](CACHE | {"k": 1}, BITS), TypeError, "unknown: k"),
    "no cache": (lambda a: a["draw"](X, BITS), TypeError, "expected a dict of length, values"),
    "a float for an int": (lambda a: a["draw"](CACHE | {"length": 1.5}, BITS), TypeError, "the number 1.5"),
    "params": (lambda a: a.apply({}, a.state, X, IDS), TypeError, "like artifact.params"),
    "shape of params": (lambda a: a.apply(a.params | {"w": X}, a.state, X, IDS), ValueError, r"w is float32\[3, 4\]"),
    "dtype of state": (
        lambda a: a.apply(a.params, a.state | {"seen": 1.0}, X, IDS), ValueError, "seen is int32",
    ),
    "a list that is shorter": (
        lambda a: a.apply(a.params | {"blocks": []}, a.state, X, IDS), TypeError, "a list of 1, got list of 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CALLS)
def test_mistakes_of_a_caller(artifact, mistake):
    call, kind, match = CALLS[mistake]
    with pytest.raises(kind, match=match):
        call(artifact)


@pytest.mark.parametrize("first", [jax.jit, jax.vmap, jax.checkpoint], ids=lambda f: f.__name__)
def test_the_first_use_may_be_within_a_transform(first):
    artifact = export.load(SOUND)
    one = first(
        lambda x: (
            artifact(x, IDS)[0]["y"]
            if first is not jax.vmap
            else artifact(x[None], IDS[:1])[0]["y"]
        )
    )
    again = lambda: artifact.apply(artifact.params, artifact.state, X, IDS)[0]["y"]
    np.testing.assert_allclose(np.reshape(one(X), again().shape), again(), rtol=1e-5, atol=1e-6)


def test_numbers_and_arrays_of_numpy_are_taken(artifact):
    output = artifact["draw"](CACHE, BITS)
    assert int(output[2]["length"]) == 2
    with jax.enable_x64(True), pytest.raises(TypeError, match="ids is int32"):
        artifact(X, np.arange(2))


def test_a_file_of_several_functions_says_which_to_call(tmp_path):
    entry = export.entry(lambda p, s, x: (x, s), export.spec((2,)))
    artifact = export.load(export.save(tmp_path / "m.fnx", {"one": entry, "two": entry}, {}, {}))
    with pytest.raises(TypeError, match=r"several functions: .*'one'.* one, two"):
        artifact(jnp.ones(2))
    one = export.load(export.save(tmp_path / "m.fnx", entry, {}, {}, name="only"))
    np.testing.assert_array_equal(one(jnp.ones(2)), jnp.ones(2))
    assert [*one.functions] == ["only"]


def same(params, state, x):
    return x, state


def compares(params, state, x):
    return (x + 1 if x.shape[0] > 4 else x), state


def parity(params, state, x):
    return x * (2 if x.shape[0] % 2 else 3), state


def one_alone(params, state, x):
    return x * (2 if x.shape[0] == 1 else 3), state


def nothing_finite(params, state, x):
    return x / 0.0 * jnp.nan, state


def calls_back(params, state, x):
    return jax.pure_callback(np.sin, x, x), state


OPEN = export.spec(("batch", 3))
SAVES = {
    "a comparison": (lambda p: export.save(p, compares, {}, {}, OPEN), ExportError, "compares.*symbolic=False"),
    "a branch": (lambda p: export.save(p, parity, {}, {}, OPEN), ExportError, "computes something else.*branch"),
    "a branch at one": (lambda p: export.save(p, one_alone, {}, {}, OPEN), ExportError, "branch"),
    "NaN": (lambda p: export.save(p, nothing_finite, {}, {}, OPEN), ExportError, "examples="),
    "a callback": (lambda p: export.save(p, calls_back, {}, {}, OPEN), ExportError, "calls back into Python"),
    "sizes": (lambda p: export.save(p, same, {}, {}, OPEN, sizes=[{"n": 1}]), ValueError, "must give each"),
    "a size of none": (lambda p: export.save(p, same, {}, {}, OPEN, sizes=[{"batch": 0}]), ValueError, "positive"),
    "sizes of nothing": (lambda p: export.save(p, same, {}, {}, X, sizes=[{"n": 1}]), ValueError, "no input has"),
    "no params": (lambda p: export.save(p, same, X, {}, OPEN), TypeError, "expected the model's params"),
    "a name": (lambda p: export.save(p, same, {}, {}, OPEN, name="a b"), ValueError, "'a b' is no name"),
    "metadata": (lambda p: export.save(p, same, {}, {}, OPEN, metadata={"n": 1}), TypeError, "metadata"),
    "a platform": (lambda p: export.save(p, same, {}, {}, OPEN, platforms=("gpu",)), ValueError, "platform"),
    "names twice": (lambda p: export.save(p, same, {"a": X}, {"a": X}, X), ValueError, "two arrays of params"),
    "a key": (lambda p: export.save(p, same, {"k": jax.random.key(0)}, {}, X), TypeError, "random key"),
    "text in params": (lambda p: export.save(p, same, {"k": "x"}, {}, X), TypeError, "k is a str"),
    "examples": (lambda p: export.save(p, same, {}, {}, OPEN, examples=(X, X)), TypeError, "a tuple of 1"),
    "the path last": (lambda p: export.save(same, {}, {}, OPEN, p), TypeError, "path of a file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", SAVES)
def test_mistakes_of_an_author(mistake, tmp_path):
    call, kind, match = SAVES[mistake]
    with pytest.raises(kind, match=f"(?s){match}"):
        call(tmp_path / "m.fnx")
    assert not list(tmp_path.iterdir())


def test_examples_are_what_is_compared_at(tmp_path):
    """A function that has numbers for its own inputs alone."""

    def table(params, state, ids):
        return jnp.where(ids >= 100, 1.0, jnp.nan), state

    ids = export.spec(("batch", "time"), "int32")
    with pytest.raises(ExportError, match="examples"):
        export.save(tmp_path / "m.fnx", table, {}, {}, ids)
    export.save(tmp_path / "m.fnx", table, {}, {}, ids, examples=(np.array([[100, 101, 102]]),))


def test_programs_for_other_machines(tmp_path):
    platforms = ("cpu", "cuda")
    path = export.save(tmp_path / "m.fnx", same, {}, {}, OPEN, platforms=platforms, sizes=[])
    programs = export.load(path)["call"].record.programs
    assert [(p.platform, p.portable, p.checked) for p in programs] == [
        ("cpu", True, True),
        ("cuda", True, True),
    ]
    alone = export.load(export.save(path, same, {}, {}, OPEN, platforms=("tpu",), sizes=[]))
    np.testing.assert_array_equal(alone(X), X)


def test_functions_of_integers_have_no_derivative_to_export(tmp_path):
    functions = {
        "floats": export.entry(same, export.spec((2,))),
        "ints": export.entry(same, export.spec((2,), "int32")),
    }
    path = export.save(tmp_path / "m.fnx", functions, {}, {}, differentiable=True)
    artifact = export.load(path)
    assert artifact["ints"].record.gradient is None
    assert jax.grad(lambda x: artifact["floats"](x).sum())(jnp.ones(2)).tolist() == [1, 1]


def test_a_key_that_is_always_the_same_is_told(tmp_path):
    def noisy(params, state, x):
        return x + jax.random.normal(jax.random.key(0), x.shape), state

    with pytest.warns(UserWarning, match="every call gives the same numbers"):
        export.save(tmp_path / "m.fnx", noisy, {}, {}, export.spec((3,)))


def test_a_stand_in_has_no_derivative_of_its_own_that_is_used():
    """The derivative of what `Exported` is made of here would be zero, in silence."""
    spec = jax.ShapeDtypeStruct((3,), jnp.float32)
    program, _ = lower_portably(lambda x: [x * 2], [spec], "cpu")
    assert read_signature(program).outputs == (("f32", (3,)),)
    call = restored_call(program, [spec], [spec], "cpu")
    np.testing.assert_array_equal(call(jnp.ones(3))[0], jnp.full(3, 2.0))
