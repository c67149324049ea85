"""The dictionary of PyTorch's names: complete, of the installed PyTorch, and whatever it names exists."""

import importlib
import inspect
import re
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from docs.generation.dictionary import collect, rows, sentences
from docs.generation.dictionary.packages import PACKAGES, PAGES
from docs.generation.dictionary.pages import pages
from docs.generation.dictionary.torch_names import FILE, torch_names, torch_version
from docs.generation.names import public_names
from funcnet.core.torch_hints import messages

TEXTS = pages()
SAID = {
    f"{package.name}.{row.name}": row.sentence
    for package in PACKAGES
    for row in rows.rows(package)
    if row.sentence
}
JAX = re.compile(r"(?<![\w.])(jax|jnp|lax|np)((?:\.\w+)+)")
HOMES = {"jax": "jax", "jnp": "jax.numpy", "lax": "jax.lax", "np": "numpy"}


def cells(text):
    """The left and right cells of a page's tables."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [re.split(r"(?<!\\)\|", line)[1:3] for line in lines]


def exists(home, rest):
    path, value = home, importlib.import_module(home)
    for part in rest.strip(".").split("."):
        path += f".{part}"
        if not hasattr(value, part):
            try:
                value = importlib.import_module(path)
            except ImportError:
                return False
        else:
            value = getattr(value, part)
        if not inspect.ismodule(value):
            break  # what a call returns is not asked
    return True


def test_the_file_is_of_the_installed_pytorch():
    torch = pytest.importorskip("torch")
    if torch.__version__.partition("+")[0] != torch_version():
        pytest.skip(f"PyTorch {torch.__version__} is installed, the file is of {torch_version()}")
    changed = "run python -m docs.generation.dictionary.collect"
    assert collect.collect() == FILE.read_text(), changed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file)
def test_each_name_has_one_row(page):
    text = TEXTS[f"coming_from/dictionary/{page.file}.md"]
    found = Counter(name for left, _ in cells(text) for name in re.findall(r"`([^`]+)`", left))
    names = Counter(name.name for package in page.packages for name in torch_names()[package.name])
    assert found == names


def test_the_main_packages_are_there():
    names = {package.name for package in PACKAGES}
    assert names >= {
        "torch.nn",
        "torch.nn.functional",
        "torch.nn.init",
        "torch.nn.utils",
        "torch.optim",
        "torch.optim.lr_scheduler",
        "torch.utils.data",
        "torch.func",
        "torch.amp",
    }


def test_links_lead_to_public_names():
    known = {name.path for name in public_names()}
    for place, text in TEXTS.items():
        gone = set(re.findall(r"{py:obj}`[^`]* <([\w.]+)>`", text)) - known
        assert not gone, place


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_of_funcnet_and_jax_exist():
    for name, sentence in SAID.items():
        for path in sentences.names_in(sentence):
            home = path.split(".")[1]
            assert (
                exists(f"funcnet.{home}", path.split(".", 2)[2])
                if path.count(".") > 1
                else (sentences.find(path) is not None)
            ), f"{name}: {path}"
        for home, rest in JAX.findall(sentence):
            assert exists(HOMES[home], rest), f"{name}: {home}{rest}"


def test_code_is_set_as_code():
    """What Markdown would take for emphasis, or for a cell's end, stands in code."""
    for place, text in TEXTS.items():
        for _, right in cells(text):
            prose = re.sub(r"`[^`]*`", "", right)
            assert not re.search(r"[*|<>\[]|(?<!\w)_|_(?!\w)|{(?!py:obj})", prose), (place, prose)


def test_a_sentence_has_one_place():
    """A name that two tables have would be told by the first alone."""
    places = Counter(
        (o, n) for table in messages.tables() for o, told in table.items() for n in told
    )
    assert [place for place, times in places.items() if times > 1] == []


def test_what_means_something_else_bears_the_name_here():
    """A note that a name means something else is needed only while funcnet has that name."""
    asked = {package.name: package.asked for package in PACKAGES}
    for package, name in rows.OTHERWISE:
        assert sentences.find(f"{asked[package]}.{name}") is not None, (package, name)


def test_arguments_that_differ_are_told():
    layers = next(package for package in PACKAGES if package.name == "torch.nn")
    told = {row.name: row.differences for row in rows.rows(layers)}
    assert told["ReLU"] == "without `inplace=`"
    assert told["Conv2d"] == "without `device=`; also `channels_last=`"
    assert told["Flatten"] == ""


ALIKE = {
    (package, name.name): home
    for package, home in (
        ("torch", "jnp"),
        ("torch.linalg", "jnp.linalg"),
        ("torch.fft", "jnp.fft"),
    )
    for name in torch_names()[package]
    if messages.instead_of("funcnet").get(name.name) == f"{home}.{name.name}"
}
"""Functions that are told to be JAX's of the same name."""


def alike(theirs, ours):
    """Whether values are the same, one by one where there are several."""
    if isinstance(theirs, tuple):
        return len(theirs) == len(ours) and all(map(alike, theirs, ours))
    expected = theirs.resolve_conj().numpy() if hasattr(theirs, "numpy") else np.asarray(theirs)
    return np.shape(ours) == expected.shape and np.allclose(ours, expected, 1e-4, 1e-4, True)


@pytest.mark.filterwarnings("ignore")  # of arguments that do not suit a function
def test_functions_of_the_same_name_compute_the_same():
    """Each is asked with one and with two matrices and vectors; what either refuses is left out."""
    torch = pytest.importorskip("torch")
    x = np.array([[0.9, 0.3, 0.2], [0.3, 0.8, 0.1], [0.2, 0.1, 0.7]], np.float32)
    y = np.array([[0.6, 0.2, 0.4], [0.5, 0.9, 0.8], [0.1, 0.3, 0.7]], np.float32)
    compared, wrong = 0, []
    for (package, name), home in ALIKE.items():
        if name in ("empty_like", "gradient", "result_type", "lstsq"):  # no value; another form
            continue
        for inputs in ((x,), (x, y), (x[0],), (x[0], y[0])):
            try:
                theirs = getattr(importlib.import_module(package), name)(*map(torch.tensor, inputs))
                ours = getattr(module_of(home), name)(*map(jnp.asarray, inputs))
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
                continue
            compared += 1
            if not alike(theirs, ours):
                wrong.append(f"{home}.{name} of {len(inputs)}")
    assert wrong == []
    assert compared > 200


def module_of(home):
    return importlib.import_module(home.replace("jnp", "jax.numpy"))
