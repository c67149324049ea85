"""Dotted paths: to leaves and back, globs that must match."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import pytest

from funcnet.core import paths


class Pair(NamedTuple):
    left: int
    right: int


@jax.tree_util.register_dataclass
@dataclass
class Record:
    field: int


def test_every_kind_of_container_has_a_path():
    tree = {"dict": [1, (2,)], "pair": Pair(3, 4), "record": Record(5)}
    assert dict(paths.leaves_with_paths(tree)) == {
        "dict.0": 1,
        "dict.1.0": 2,
        "pair.left": 3,
        "pair.right": 4,
        "record.field": 5,
    }
    assert paths.leaves_with_paths(7) == [("", 7)]


def test_map_with_path_keeps_the_structure():
    tree = {"a": [1, 2], "b": None}
    mapped = paths.map_with_path(
        lambda path, x, y: f"{path}={x + y}", tree, {"a": [10, 20], "b": None}
    )
    assert mapped == {"a": ["a.0=11", "a.1=22"], "b": None}


def test_flatten_and_nest_are_inverse_and_keep_order():
    flat = {"b.x": 1, "a": 2, "b.c.d": 3}
    assert paths.flatten(paths.nest(flat)) == {"b.x": 1, "b.c.d": 3, "a": 2}
    assert paths.nest(flat) == {"b": {"x": 1, "c": {"d": 3}}, "a": 2}
    assert paths.flatten({}) == {}


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.bias", "a.b.bias", True),
        ("*.bias", "bias", False),
        ("layers.?.weight", "layers.3.weight", True),
        ("layers.[01].*", "layers.2.weight", False),
        ("*", "", True),
        ("a.b", "A.B", False),
    ],
)
def test_globs(pattern, path, expected):
    assert paths.matches(pattern, path) is expected


def test_select_takes_several_globs_and_refuses_an_idle_one():
    there = ["fc.weight", "fc.bias", "head.bias"]
    assert paths.select(["fc.*", "*.bias"], there) == set(there)
    with pytest.raises(ValueError, match=r"'conv\.\*' matches no path; there are: fc\.weight"):
        paths.select(["fc.*", "conv.*"], there)
    with pytest.raises(ValueError, match="none"):
        paths.select("*", [])
