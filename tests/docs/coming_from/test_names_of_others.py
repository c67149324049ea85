"""The tables of other libraries' names: each public name of theirs once, each name of ours is there."""

import importlib
import inspect
import os
from importlib.metadata import version
from typing import TypeVar

import pytest

from docs.generation.other_libraries import FOLDER, pages
from docs.generation.other_libraries.links import resolve
from docs.generation.other_libraries.table import code_in, rows, written_for

LIBRARIES = ["flax", "equinox", "optax", "keras"]
COMPLETE = {
    "flax": ["flax.linen", "flax.nnx"],
    "equinox": ["equinox", "equinox.nn"],
    "optax": [
        "optax",
        "optax.assignment",
        "optax.contrib",
        "optax.losses",
        "optax.perturbations",
        "optax.projections",
        "optax.schedules",
        "optax.second_order",
        "optax.transforms",
        "optax.tree",
        "optax.tree_utils",
    ],
    "keras": [
        "keras.activations",
        "keras.callbacks",
        "keras.constraints",
        "keras.initializers",
        "keras.layers",
        "keras.losses",
        "keras.metrics",
        "keras.optimizers",
        "keras.optimizers.schedules",
        "keras.random",
        "keras.regularizers",
    ],
}
"""Namespaces whose every public name has a row; others have those that matter."""


def page(library):
    return (FOLDER / f"{library}.md").read_text()


@pytest.fixture(params=LIBRARIES)
def library(request):
    os.environ.setdefault("KERAS_BACKEND", "jax")  # which Keras reads as it is imported
    return request.param


def public(module):
    """Names of a module that are neither modules nor variables of types."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and not isinstance(value, TypeVar)
    }


def numbers(text):
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def test_every_name_of_theirs_has_one_row(library):
    pytest.importorskip(library, reason=f"compares with {library}")
    name, written = written_for(page(library))
    assert name == library
    if numbers(version(library)) < numbers(written):
        pytest.skip(f"the page is written for {library} {written}, here is {version(library)}")
    listed, values = {}, {}
    for row in rows(page(library)):
        for each in row.names:
            assert each not in listed.setdefault(row.namespace, {}), f"{row.namespace}.{each} twice"
            listed[row.namespace][each] = row
            try:
                values[each, id(getattr(importlib.import_module(row.namespace), each))] = row
            except AttributeError:
                pytest.fail(f"stale: {library} {version(library)} has no {row.namespace}.{each}")
    missing = {
        namespace: sorted(
            each
            for each, value in public(importlib.import_module(namespace)).items()
            if each not in listed.get(namespace, {})
            and (each, id(value)) not in values
            and (each.removeprefix("tree_"), id(value)) not in values
        )
        for namespace in COMPLETE[library]
    }
    assert not {n: m for n, m in missing.items() if m}


def test_every_name_of_ours_resolves(library):
    wrong = []
    for row in rows(page(library)):
        assert row.here == "—" or code_in(row.here), row
        assert row.note or code_in(row.here), f"{row.names}: nothing, and no reason"
        for code in code_in(row.here) + code_in(row.note):
            try:
                resolve(code)
            except AttributeError as error:
                wrong.append(str(error))
    assert not wrong


def test_pages_have_links():
    made = pages()
    assert set(made) == {f"coming_from/names/{library}.md" for library in LIBRARIES}
    assert "{py:obj}`nn.Linear <funcnet.nn.Linear>`" in made["coming_from/names/flax.md"]
    assert "`jax.jit`" in made["coming_from/names/flax.md"]
