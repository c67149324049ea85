"""A file that is damaged anywhere is refused, or gives the tree that was saved; crafted ones are refused."""

import json
import random
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet.checkpoint.trees.containers import fold_tree
from funcnet.checkpoint.trees.described import leaves_described
from funcnet.checkpoint.trees.one_file import STRUCTURE
from funcnet.checkpoint.trees.structure import take_apart
from tests.checkpoint.same import assert_same

Pair = namedtuple("Pair", "first second")

TREE = {
    "w": jnp.ones((2, 3)),
    "key": jax.random.key(1),
    "list": [np.int8(3), "text", Pair(None, 1.5)],
}


def loaded(path):
    """The tree of a file, or the message that refuses it."""
    try:
        return fn.checkpoint.load(path, classes=[Pair])
    except ValueError as error:
        return str(error)


def test_any_byte_that_changed(tmp_path, pytestconfig):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", TREE)
    content = path.read_bytes()
    whole = pytestconfig.getoption("grid") == "full"
    places = range(len(content)) if whole else random.Random(0).sample(range(len(content)), 200)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = loaded(path)
        if isinstance(found, str):
            assert path.name in found
        else:  # a blank between two words of the header, or a letter of another case in a checksum
            assert_same(found, TREE)


def test_files_that_are_cut_off(tmp_path):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", TREE)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.safetensors"):
            fn.checkpoint.load(path)


WORDS = ["array", "kind", "dict", "list", "tuple", "namedtuple", "dataclass", "node", "of",
"fixed", "OrderedDict", "int", "float", "nan", "bytes", "complex", "impl", "dtype"]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(WORDS)
        | st.text(max_size=2),
        inner | st.sampled_from(["w", "jax", "key", "weak", "numpy", "number", "rbg", "int4", "M8[s]"]),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(structure=JSON)
def test_a_description_is_read_or_refused(tmp_path, structure):
    text = json.dumps({"version": 1, "tree": structure})
    arrays = {"w": np.zeros((2, 2), np.uint32)}
    path = fn.checkpoint.save_arrays(tmp_path / "a.safetensors", arrays, {STRUCTURE: text})
    tree = loaded(path)
    if not isinstance(tree, str):
        again = fn.checkpoint.save(tmp_path / "b.safetensors", tree)
        assert repr(fn.checkpoint.load(again)) == repr(tree)


KEYS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.tuples(inner, inner),
    max_leaves=3,
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.builds(Pair, inner, inner)
    | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(tree=TREES)
def test_any_tree_comes_back_and_no_two_leaves_share_a_name(tree):
    structure, arrays = take_apart(tree)
    assert not arrays
    structure = json.loads(json.dumps(structure))
    named = []
    fold_tree(tree, lambda name, leaf: named.append((name, leaf)), lambda opened, children: None)
    described = leaves_described(structure)
    assert [*described] == [name for name, _ in named]
    assert_same([*described.values()], [leaf for _, leaf in named])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=TREES)
def test_any_tree_comes_back_from_a_file(tmp_path, tree):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree)
    assert_same(fn.checkpoint.load(path, classes=[Pair]), tree)
    assert_same(fn.checkpoint.load(path, tree) if tree is not None else None, tree)


def test_descriptions_of_other_versions_and_none(tmp_path):
    for text, match in (
        ('{"version": 2, "tree": 1}', "newer funcnet"),
        ('{"tree": 1}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("", "cannot be read"),
        ('{"version": 1, "tree": ' + '{"list": [' * 5000 + "]}" * 5000 + "}", "cannot be read"),
    ):
        path = fn.checkpoint.save_arrays(tmp_path / "a.safetensors", {}, {STRUCTURE: text})
        with pytest.raises(ValueError, match=match):
            fn.checkpoint.load(path)
