"""The reference: each public name has one page, each page an example, each name in a docstring a meaning."""

import re
from functools import cache

import pytest

from docs.generation.names import namespaces, public_names, resolve, short_path
from docs.generation.reference import pages
from docs.generation.reference.docstring import parse
from docs.generation.reference.examples import unknown_names
from docs.generation.reference.mentions import elsewhere, find, is_known
from docs.generation.reference.page import docstring_of
from docs.generation.reference.related import pytorch_names, twin
from docs.generation.reference.signature import signature

WITHOUT_EXAMPLE = {
    "exception": "its docstring shows the code that is wrong and the code that is right",
    "data": "a constant or a type: its page shows the value",
}
"""Kinds of names that need no example, and why."""

NAMES = [n for n in public_names() if n.kind != "module"]
ROLE = re.compile(r"``.*?``|:[\w:]+:`[^`]*`|`[^`]*`__", re.DOTALL)
MENTION = re.compile(r"`([^`]+)`")


@cache
def made() -> dict[str, str]:
    return pages()


def test_every_public_name_has_one_page():
    assert {f"{n.page}.rst" for n in NAMES} <= set(made())
    places = [n.page.lower() for n in public_names()]
    assert len(places) == len(set(places)), "two pages differ by case alone"
    assert all(
        f"reference/{short_path(h).replace('.', '/')}/index" not in places for h in ["funcnet"]
    )


def test_every_page_has_an_example():
    missing = [
        n.short
        for n in NAMES
        if n.kind not in WITHOUT_EXAMPLE and "Example\n-------" not in made()[f"{n.page}.rst"]
    ]
    assert not missing


def test_every_page_says_what_its_name_is():
    assert not [n.short for n in NAMES if len(docstring_of(n).summary) < 10]


def test_every_name_is_in_its_index():
    for name in NAMES:
        folder = short_path(name.namespace).replace(".", "/")
        assert f":py:obj:`{name.short}`" in made()[f"reference/{folder}/index.rst"], name.short


def test_examples_run_where_they_are_pasted():
    """What an example uses is imported on its page."""
    found = {n.short: unknown_names(docstring_of(n).example, n) for n in NAMES}
    assert not {name: names for name, names in found.items() if names}


def test_names_in_docstrings_mean_something():
    unknown = []
    for name in NAMES:
        text = ROLE.sub("", made()[f"{name.page}.rst"])
        for written in MENTION.findall(text):
            if not (find(written, name)[0] or elsewhere(written) or is_known(written, name)):
                unknown.append(f"{name.short}: `{written}`")
    assert not unknown, "\n".join(unknown)


def test_every_argument_that_is_documented_exists():
    wrong = []
    for name in NAMES:
        found = signature(name.value) if name.kind in {"class", "function"} else None
        if found is None:
            continue
        takes = {a.name.strip("*") for a in found.arguments}
        open_ended = any(a.name.startswith("**") for a in found.arguments)
        told = {n.strip("*") for e in docstring_of(name).lists.get("Args", []) for n in e.names}
        wrong += [f"{name.short}: {n}" for n in sorted(told - takes) if not open_ended]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("written", "namespace", "path"),
    [
        ("nn.Linear", "", "funcnet.nn.Linear"),
        ("F.relu", "", "funcnet.functional.relu"),
        ("funcnet.transforms.grad", "", "funcnet.grad"),
        ("fn.module.Module", "", "funcnet.nn.Module"),
        ("fn.Module", "", "funcnet.nn.Module"),
        ("metrics.Accuracy", "", "funcnet.training.metrics.Accuracy"),
        ("linear", "funcnet.functional", "funcnet.functional.linear"),
        ("linear", "funcnet.optim.schedules", "funcnet.optim.schedules.linear"),
        ("fn.export.save", "", "funcnet.export.save"),
    ],
)
def test_names_resolve_as_users_write_them(written, namespace, path):
    found = resolve(written, namespace)
    assert found is not None
    assert found.path == path


def test_methods_resolve_to_their_place():
    name, anchor = find("TrainState.create")
    assert name is not None
    assert (name.short, anchor) == ("training.TrainState", "#training.TrainState.create")


def test_layers_and_functions_know_each_other():
    for layer, function in {
        "nn.CrossEntropyLoss": "F.cross_entropy",
        "nn.Conv2d": "F.conv2d",
    }.items():
        assert twin(resolve(layer)) is resolve(function)
        assert twin(resolve(function)) is resolve(layer)


def test_a_docstring_is_taken_apart():
    text = "Add.\n\nMore.\n\nArgs:\n    x, y: numbers,\n        two of them.\n\nReference: ``torch.add``,\nand others."
    doc = parse(text)
    assert (doc.summary, doc.body) == ("Add.", "More.")
    assert doc.lists["Args"][0].names == ("x", "y")
    assert doc.lists["Args"][0].text == "numbers,\ntwo of them."
    assert list(pytorch_names(doc)) == ["torch.add"]
    assert doc.reference.endswith("and others.")


def test_signatures_read_as_they_are_written():
    linear = str(signature(resolve("nn.Linear").value))
    assert linear == (
        "(in_features: int, out_features: int, bias: bool = True, *, dtype: DType = jnp.float32)"
    )
    noise = ("jaxtyping", "ForwardRef", "typing.", "<function", "<object", "<class")
    signed = {n.short: str(signature(n.value)) for n in NAMES if n.kind in {"class", "function"}}
    assert not {k: s for k, s in signed.items() if any(part in s for part in noise)}


def test_namespaces_are_written_as_users_import_them():
    assert {short_path(h) for h in namespaces()} >= {"fn", "F", "nn", "nn.init", "optim.schedules"}
