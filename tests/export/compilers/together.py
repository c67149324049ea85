"""Several models as one, so that one process compiles all of them."""

import dataclasses
import importlib.util

from funcnet import export
from tests.export.cases import CASES

SAMPLE = ("mlp", "lstm_lm", "convolutions")
"""GELU is a composite, an LSTM a loop, a depthwise convolution a switch on the platform."""

SIZES = [{"batch": size} for size in (1, 2, 3, 32)]


def names(request):
    """The models that are tested: all with ``--grid=full``."""
    return tuple(CASES) if request.config.getoption("--grid") == "full" else SAMPLE


def together(chosen):
    """Entries, params, state and examples of models side by side; a function is called ``MODEL_FUNCTION``."""
    params, state, entries, examples = {}, {}, {}, {}
    for name in chosen:
        model = CASES[name].model()
        params[name], state[name] = model.params, model.state
        for function, entry in model.entries.items():
            entries[f"{name}_{function}"] = dataclasses.replace(entry, function=part(entry, name))
            examples[f"{name}_{function}"] = model.example(function, 32)
    return entries, params, state, examples


def part(entry, name):
    return lambda params, state, *inputs, **keywords: entry.function(
        params[name], state[name], *inputs, **keywords
    )


def branches(params, state, x):
    """Take one side in silence while the batch is open."""
    return (x * params["scale"] if x.shape[0] % 2 else x - params["scale"]), state


OPEN = export.spec(("batch", 3), name="x")


def installed(*packages):
    """Say whether packages are there; of a part of one, its whole is looked for first."""
    wholes = [package.partition(".")[0] for package in packages]
    return all(map(importlib.util.find_spec, wholes)) and all(
        map(importlib.util.find_spec, packages)
    )
