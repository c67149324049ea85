"""Each name of PyTorch's utilities is found under its path, or its error says what to write, which exists."""

import importlib
import inspect
import re
import warnings

import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet.core.torch_hints import messages

HOMES = (
    "nn.utils",
    "nn.utils.rnn",
    "nn.utils.prune",
    "nn.utils.parametrize",
    "nn.utils.parametrizations",
    "nn.utils.fusion",
    "nn.utils.stateless",
    "nn.utils.clip_grad",
    "nn.utils.memory_format",
    "nn.attention",
    "nn.attention.flex_attention",
    "nn.attention.bias",
    "optim.swa_utils",
    "ao.quantization",
    "ao.nn.quantized",
    "ao.nn.quantized.dynamic",
    "nn.quantized",
    "quantization",
    "utils.flop_counter",
)
"""PyTorch's packages."""

NAMED = (
    "nn.utils.prune",
    "nn.utils.stateless",
    "nn.utils.clip_grad",
    "nn.attention.flex_attention",
    "nn.attention.bias",
    "optim.swa_utils",
    "utils.flop_counter",
)
"""Those of which one error speaks for all names: it has to name each function."""

NOT_NAMED = {
    "FlexKernelOptions": "kernel options",
    "AuxOutput": "AuxRequest",
    "CausalVariant": "causal_",
    "CausalBias": "causal_",
    "flex_attention": "F.flex_attention",
    "identity": "identity",
    "Identity": "identity",
    "BasePruningMethod": "masks",
    "PruningContainer": "masks",
    "L1Unstructured": "l1_unstructured",
    "RandomUnstructured": "random_unstructured",
    "LnStructured": "ln_structured",
    "RandomStructured": "random_structured",
    "CustomFromMask": "custom_from_mask",
    "clip_grad_norm_": "clip_grad_norm",
    "clip_grad_value_": "clip_grad_value",
}
"""What an error says in place of a name itself."""

MAIN_OF_QUANTIZATION = (
    "quantize_dynamic",
    "prepare",
    "prepare_qat",
    "convert",
    "FakeQuantize",
    "QuantStub",
    "MinMaxObserver",
    "HistogramObserver",
    "QConfig",
    "get_default_qconfig",
    "fuse_modules",
)

ROOTS = {
    "fn": fn,
    "nn": fn.nn,
    "F": fn.functional,
    "optim": fn.optim,
    "data": fn.data,
    "parallel": fn.parallel,
    "training": fn.training,
    "transforms": fn.transforms,
}
REFERENCE = re.compile(rf"(?<![\w.])({'|'.join(ROOTS)})((?:\.[A-Za-z_]\w*)+)")


def names_of(home: str) -> list[str]:
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some packages of PyTorch are deprecated
        package = importlib.import_module(f"torch.{home}")
    listed = getattr(package, "__all__", None)
    if listed is None:
        listed = [
            name
            for name, value in vars(package).items()
            if name[0] != "_" and getattr(value, "__module__", "").startswith(package.__name__)
        ]
    return sorted({name for name in listed if name[0] != "_"})


def reached(path: str):
    """Follow a path from funcnet; return what is there, or the error that it ends with."""
    value = fn
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            return None, str(error)
    return value, None


def references(sentence: str) -> list[str]:
    return ["".join(found) for found in REFERENCE.findall(sentence)]


def missing(sentence: str) -> list[str]:
    """The names in a sentence that funcnet has not."""
    gone = []
    for reference in references(sentence):
        root, *parts = reference.split(".")
        value = ROOTS[root]
        for part in parts:
            if part in vars(value) if inspect.isclass(value) else hasattr(value, part):
                value = getattr(value, part)
            else:
                gone.append(reference)
                break
            if not inspect.ismodule(value):
                break  # what a call returns is not asked
    return gone


@pytest.mark.parametrize("home", HOMES)
def test_each_name_is_there_or_its_error_says_where(home):
    silent = []
    for name in names_of(home):
        value, error = reached(f"{home}.{name}")
        if error is None:
            assert value is not None
        elif "In funcnet: " not in error:
            silent.append(name)
        elif home in NAMED and NOT_NAMED.get(name, name) not in error:
            silent.append(f"{name} (its error does not name it)")
    assert not silent, f"torch.{home}: {', '.join(silent)}"


@pytest.mark.parametrize("home", ["ao.quantization", "quantization"])
def test_the_main_names_of_quantization_are_named(home):
    _, error = reached(f"{home}.anything")
    assert error is not None
    assert [name for name in MAIN_OF_QUANTIZATION if name not in error] == []


def told(owner: str, name: str, sentence: str) -> str:
    """What a user reads: of packages the whole error."""
    return messages.missing_name(owner, name, ()) if owner.startswith("funcnet") else sentence


SENTENCES = {
    f"{owner}: {name}": told(owner, name, sentence)
    for table in messages.tables()
    for owner, there in table.items()
    for name, sentence in there.items()
}


@pytest.mark.parametrize("owner", sorted({key.partition(":")[0] for key in SENTENCES}))
def test_what_a_sentence_names_exists(owner):
    wrong = {
        key: gone
        for key, sentence in SENTENCES.items()
        if key.startswith(f"{owner}:") and (gone := missing(sentence))
    }
    assert not wrong


PACKAGES = sorted({key.partition(":")[0] for key in SENTENCES if key.startswith("funcnet")})


@pytest.mark.parametrize("owner", PACKAGES)
def test_no_sentence_hides_a_name_that_exists(owner):
    """A hint for what is there by now would never be seen."""
    home = importlib.import_module(owner)
    found = vars(home).keys() | set(getattr(home, "__all__", ()))
    assert sorted(messages.instead_of(owner).keys() & found) == []


def test_what_ends_in_an_underscore_is_a_value():
    _, error = reached("functional.relu_")
    assert error is not None
    assert error.endswith("In funcnet: arrays are immutable, so assign the result: F.relu")
    _, error = reached("exp_")
    assert error is not None
    assert error.endswith("assign the result: jnp.exp")


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda x: x.gather(0, x), "In JAX: jnp.take_along_axis(x, indices, axis)"),
        (lambda x: x.exp(), "In JAX: jnp.exp"),
        (lambda x: x.mul_(2), "arrays are immutable, so assign the result: `x * y`"),
        (lambda x: fn.functional.relu(x, **{"inplace": True}), "leave inplace= out"),
        (lambda x: x.nothing(), None),
    ],
)
def test_a_model_adds_what_to_write_instead_of_a_method(call, hint):
    class Calls(fn.Module):
        def __call__(self, x):
            return call(x)

    net = fn.functionalize(Calls())
    with pytest.raises((AttributeError, TypeError)) as caught:
        net.apply({}, {}, jnp.ones(3))
    notes = "\n".join(caught.value.__notes__)
    assert (hint in notes) if hint else ("In JAX" not in notes)
