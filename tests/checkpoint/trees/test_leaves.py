"""Every kind of leaf in every container comes back bit for bit, with a template and without."""

import enum
import math
import pathlib
from collections import OrderedDict, namedtuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import funcnet as fn
from funcnet.core.safetensors_format import DTYPES
from tests.checkpoint.same import assert_same

Pair = namedtuple("Pair", "first second")

VALUES = {
    "None": None,
    "True": True,
    "int": 7,
    "negative": -(2**63),
    "big": 2**5000 + 1,
    "float": 0.1,
    "minus zero": -0.0,
    "nan": math.nan,
    "minus nan": -math.nan,
    "inf": -math.inf,
    "smallest": 5e-324,
    "complex": complex(-0.0, math.inf),
    "text": "naïve \ud800 \0 \n",
    "empty text": "",
    "bytes": bytes(range(256)),
}

NUMPY = sorted({dtype.name for dtype in DTYPES.values()} | {"complex128"})
RARE = [
    name
    for name in (
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float4_e2m1fn",
        "int4",
        "uint4",
        "int2",
    )
    if hasattr(ml_dtypes, name)
]


def numpy_arrays():
    rng = np.random.default_rng(0)
    for name in [*NUMPY, *RARE]:
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        numbers = rng.integers(0, 2 if name in ("bool", "int2") else 7, (2, 3)).astype(dtype)
        yield name, numbers
        yield f"{name} scalar", numbers[0, 1]
        yield f"{name} no axes", np.array(numbers[1, 2])
    yield "empty", np.zeros((0, 3), np.float32)
    yield "empty complex", np.zeros((3, 0), np.complex128)
    yield "columns first", np.asfortranarray(np.arange(6.0).reshape(2, 3))
    yield "every second", np.arange(10)[::2]
    yield "times", np.array(["2020-01-01", "NaT"], "M8[s]")
    yield "time", np.datetime64("2024-02-29T12", "h")
    yield "spans", np.array([3, -4], "m8[ms]")


def jax_arrays():
    for name, array in [*numpy_arrays()]:
        if (
            isinstance(array, np.ndarray)
            and array.dtype.kind not in "mM"
            and array.dtype.itemsize <= 4
        ):
            yield f"jax {name}", jnp.asarray(array)
    for name, number in {"int": 3, "float": -0.0, "complex": 1j, "bool": True}.items():
        yield f"weak {name}", jnp.asarray(number)
    yield "weak row", jnp.full((3,), 2.5)
    yield "nan with a message", jnp.asarray(np.array([0x7FC01234], np.uint32).view(np.float32))


def keys():
    for name in ("threefry2x32", "rbg", "unsafe_rbg"):
        key = jax.random.key(3, impl=name)
        yield name, key
        yield f"{name} many", jax.random.split(key, (2, 3))
    yield "raw", jax.random.PRNGKey(5)


LEAVES = {**VALUES, **dict(numpy_arrays()), **dict(jax_arrays()), **dict(keys())}

CONTAINERS = {
    "leaf": lambda x: x,
    "dict": lambda x: {"b": x, "a": 1, "empty": {}},
    "keys": lambda x: {
        0: x,
        "0": 1,
        None: x,
        True: 2,
        1.5: x,
        (0, "a", (None,)): x,
        "": 3,
        "(0)": x,
    },
    "ordered": lambda x: OrderedDict(z=x, a=x),
    "list": lambda x: [x, [], [x, None]],
    "tuple": lambda x: (x, (), (x,)),
    "named": lambda x: Pair(x, {"deep": [x]}),
}


@pytest.mark.parametrize("template", [False, True], ids=["bare", "template"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_leaf_in_a_container(tmp_path, container, template):
    tree = {name: CONTAINERS[container](leaf) for name, leaf in LEAVES.items()}
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree)
    back = fn.checkpoint.load(path, tree if template else None, classes=[Pair])
    assert_same(tree, back)


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_alone(tmp_path, name):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", LEAVES[name])
    assert_same(LEAVES[name], fn.checkpoint.load(path))
    assert_same(LEAVES[name], fn.checkpoint.load(path, LEAVES[name]))


def test_64_bits_of_jax(tmp_path, x64):
    tree = [jnp.arange(3), jnp.full((2,), 1.5), jnp.ones(2, complex)]
    assert str(tree[2].dtype) == "complex128"
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree)
    assert_same(tree, fn.checkpoint.load(path))
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=r"0 is a JAX array of int64.*jax_enable_x64"):
            fn.checkpoint.load(path)
        with pytest.raises(ValueError, match="jax_enable_x64"):
            fn.checkpoint.load(path, tree)
        narrow = fn.checkpoint.load(
            path, [jnp.zeros(3, int), jnp.ones(2), jnp.ones(2, complex)], dtype="like"
        )
        assert [str(x.dtype) for x in narrow] == ["int32", "float32", "complex64"]


def test_shared_arrays_are_stored_once_and_shared_again(tmp_path):
    weight, numbers = jnp.ones((64, 64)), np.arange(1000)
    tree = {"encoder": weight, "decoder": {"weight": weight}, "a": numbers, "b": [numbers]}
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree)
    assert sorted(fn.checkpoint.load_arrays(path)) == ["a", "encoder"]
    for back in (fn.checkpoint.load(path), fn.checkpoint.load(path, tree)):
        assert_same(tree, back)
        assert back["decoder"]["weight"] is back["encoder"]
        assert back["b"][0] is back["a"]
    apart = fn.checkpoint.load(path, {**tree, "encoder": np.ones((64, 64), np.float32)})
    assert type(apart["encoder"]) is np.ndarray
    assert isinstance(apart["decoder"]["weight"], jax.Array)


class Colour(enum.IntEnum):
    RED = 1


class Thing:
    dtype = "of its own"


REFUSED = {
    "function": (lambda: 1, r"a\.0 is a builtins\.function.*keep it in the program"),
    "class": (Thing, "keep it in the program"),
    "object": (Thing(), "Thing, which cannot be saved: save what it is made of"),
    "dtype": (jnp.float32, "cannot be saved"),
    "numpy dtype": (np.dtype("f4"), "cannot be saved"),
    "set": ({1}, r"write sorted\(\.\.\.\)"),
    "enum": (Colour.RED, "a value of Python's own"),
    "path": (pathlib.Path("x"), r"write str\(\.\.\.\)"),
    "numpy text": (np.str_("a"), "dtype <U1, which cannot be saved"),
    "text array": (np.array(["a", "b"]), r"a\.0 is an array of dtype <U1"),
    "objects": (np.array([None, {}]), "of dtype object"),
    "masked": (np.ma.masked_array([1, 2], [True, False]), r"write np\.asarray"),
    "record": (np.zeros(2, [("x", "f4")]), "cannot be saved"),
    "shape": (jax.ShapeDtypeStruct((2,), np.float32), "ShapeDtypeStruct"),
    "bytes as key": ({b"k": 1}, r"a\.0 has a key of type bytes"),
    "enum as key": ({Colour.RED: 1}, "key of type Colour"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_saved_is_named_with_its_place(tmp_path, name):
    leaf, message = REFUSED[name]
    with pytest.raises(TypeError, match=message):
        fn.checkpoint.save(tmp_path / "a.safetensors", {"a": [leaf]})
    assert not [*tmp_path.iterdir()]


def test_traced_donated_and_endless_trees(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(TypeError, match=r"w is traced: save and load outside of jax\.jit"):
        jax.jit(lambda x: fn.checkpoint.save(path, {"w": x}))(jnp.ones(2))
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(ValueError, match="w was donated"):
        fn.checkpoint.save(path, {"w": gone})
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="contains itself"):
        fn.checkpoint.save(path, endless)
    assert not path.exists()


def test_numpys_other_arrays_come_back_plain(tmp_path):
    big = np.arange(3, dtype=">i4")
    mapped = np.memmap(tmp_path / "mapped", np.float32, "w+", shape=(2,))
    mapped[:] = 5
    times = np.arange(2).astype(">M8[s]")
    tree = [big, mapped, times]
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree)
    plain = [np.arange(3, dtype=np.int32), np.full(2, 5, np.float32), times.astype("=M8[s]")]
    for like in (None, tree, plain):
        assert_same(fn.checkpoint.load(path, like), plain)


def test_metadata_is_text_that_any_reader_sees(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    path = fn.checkpoint.save(
        tmp_path / "a.safetensors", {"w": jnp.ones(2)}, metadata={"note": "mine"}
    )
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["note"] == "mine"
        assert [*file.keys()] == ["w"]
    with pytest.raises(ValueError, match="do not begin with 'funcnet"):
        fn.checkpoint.save(path, {}, metadata={"funcnet.tree": "x"})
