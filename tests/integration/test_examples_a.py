"""The examples that people copy, shortened: what they learn, what they leave behind, and that they go on."""

import gzip
import re
import shlex
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import funcnet as fn
from tests.integration.environment import AS_USERS_RUN

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Example:
    """An example with small settings, what it prints that says how well it learned, and how well that must be."""

    name: str
    settings: tuple[str, ...]
    more: tuple[str, str]  # the flag that makes it go on, and its first value
    result: str
    low: float
    high: float
    pictures: tuple[str, ...]
    weights: str = "model.safetensors"
    data: bool = field(default=False)


EXAMPLES = [
    Example(
        "cifar_like_resnet", ("--width", "8"), ("--epochs", "2"),
        r"test accuracy: ([\d.]+)%", 50, 100, ("curves.png", "mistakes.png"), data=True,
    ),
    Example(
        "lstm_text", ("--width", "32", "--words", "16"), ("--epochs", "6"),
        r"([\d.]+)% of \d+ speeches", 55, 100, ("curves.png", "lengths.png"),
    ),
    Example(
        "vae", ("--width", "64", "--codes", "8"), ("--epochs", "6"),
        r"costs at most ([\d.]+) nats", 90, 203, ("curves.png", "digits.png"),
    ),
    Example(
        "finetune", ("--width", "8", "--pretraining", "2", "--head-lr", "0.01"), ("--epochs", "20"),
        r"then the trunk, slowly +([\d.]+)%", 40, 100, ("curves.png",), "pretrained.safetensors",
    ),
    Example(
        "lora_gpt", ("--width", "32", "--layers", "1", "--steps", "80"), ("--adapting", "40"),
        r"after adapting +[\d.]+ +([\d.]+)", 1.5, 3.2, ("adapting.png",), "manual.safetensors",
    ),
]  # fmt: skip
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """Write the embedded digits as files of Fashion-MNIST: that is not everywhere."""
    folder = tmp_path_factory.mktemp("clothes")
    for split, part in zip(("train", "t10k"), fn.data.mnist(), strict=True):
        for kind, values in (("images", part[:]["image"]), ("labels", part[:]["label"])):
            header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            path = folder / f"{split}-{kind}-idx{values.ndim}-ubyte.gz"
            path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes(), 1))
    return folder


def _run(command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=AS_USERS_RUN,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _command(example, out, clothes):
    given = ["--data", str(clothes)] if example.data else []
    program = f"examples/{example.name}.py"
    return [program, *example.settings, *example.more, *given, "--out", str(out)]


@each_example
def test_it_learns_draws_and_goes_on_by_the_command_it_prints(example, tmp_path, clothes, request):
    if example.name != "vae" and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: a program of its own, ten seconds a run")
    printed = _run(_command(example, tmp_path, clothes))
    reached = float(re.search(example.result, printed)[1])
    assert example.low < reached < example.high
    assert (tmp_path / example.weights).stat().st_size > 1000
    for picture in example.pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    program, *command = shlex.split(printed.strip().splitlines()[-1].split(": ", 1)[1])
    assert program == "python"
    flag, value = example.more
    assert command[-2:] == [flag, str(2 * int(value))]
    before = (tmp_path / example.weights).read_bytes()
    again = _run(command)
    assert re.search(example.result, again)
    assert "epoch 1/" not in again
    assert example.name == "finetune" or (tmp_path / example.weights).read_bytes() != before


@each_example
@pytest.mark.slow
def test_a_seed_gives_the_same_twice(example, tmp_path, clothes, request):
    if request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: three programs each, ten seconds a run")
    for number in "12":
        _run(_command(example, tmp_path / number, clothes))
    first, second = (tmp_path / number / example.weights for number in "12")
    assert first.read_bytes() == second.read_bytes()
    _run([*_command(example, tmp_path / "3", clothes), "--seed", "1"])
    assert first.read_bytes() != (tmp_path / "3" / example.weights).read_bytes()


@each_example
def test_it_is_short_enough_to_copy(example):
    assert len((ROOT / f"examples/{example.name}.py").read_text().splitlines()) < 200
