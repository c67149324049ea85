"""Examples of several networks, of gradients through gradients and of a world in the program, on few digits."""

import importlib
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import data

EXAMPLES = str(Path(__file__).parents[2] / "examples")

SHORT = {
    "dqn": ("cartpole.png", {"CHUNK": 80}, "--steps", 80),
    "diffusion": ("digits.png", {"WIDTH": 8, "STEPS": 2}, "--epochs", 1),
    "gan": ("digits.png", {}, "--epochs", 1),
    "maml": ("new_tasks.png", {"INNER_STEPS": 1}, "--steps", 2),
}
"""By example: its picture, what is less in it here, and the least length."""

WHOLE = data.mnist()


def few():
    """Sixteen digits of each kind to train on, ten to test on."""

    def part(dataset, each):
        labels = dataset[:]["label"]
        chosen = [np.flatnonzero(labels == kind)[:each] for kind in range(10)]
        return data.ArrayDataset(dataset[np.stack(chosen, 1).reshape(-1)])

    return part(WHOLE[0], 16), part(WHOLE[1], 10)


@pytest.fixture
def start(monkeypatch, capsys):
    """Return a function that runs an example as a command would, and returns what it prints."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(data, "mnist", few)

    def run(name, out, length):
        example, (_, less, flag, _) = importlib.import_module(name), SHORT[name]
        for constant, value in less.items():
            monkeypatch.setattr(example, constant, value)
        if name == "diffusion":
            monkeypatch.setattr(example, "net", fn.functionalize(example.UNet()))
        command = f"{name}.py {flag} {length} --seed 3 --out {out}"
        monkeypatch.setattr(sys, "argv", command.split())
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            example.main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", SHORT)
def test_it_runs_and_what_goes_on_reaches_what_an_unbroken_run_does(name, start, tmp_path, request):
    if name != "dqn" and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: half a minute or more each")
    picture, _, flag, least = SHORT[name]
    first = start(name, tmp_path / "broken", least)
    assert re.search(
        rf"^go on: python examples/{name}\.py {flag} {2 * least} --seed 3", first, re.M
    )
    broken = start(name, tmp_path / "broken", 2 * least)
    whole = start(name, tmp_path / "whole", 2 * least)
    told = [
        [line for line in text.splitlines() if not line.startswith(("epoch", "go on", " "))]
        for text in (broken, whole)
    ]
    assert told[0] == told[1]
    assert re.search(r"\d", told[0][-1] + told[0][-2])
    drawn = [(tmp_path / run / picture).read_bytes() for run in ("broken", "whole")]
    assert drawn[0].startswith(b"\x89PNG")
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("name", SHORT)
def test_it_is_short(name):
    lines = Path(EXAMPLES, f"{name}.py").read_text().splitlines()
    assert len(lines) < 200
