"""``python -m funcnet.checkpoint``: the table for people."""

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.checkpoint.runs.report import describe_path

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path):
    with fn.checkpoint.Checkpointer(tmp_path, keep=None) as checkpointer:
        for step, loss in ((10, 0.5), (200, 0.25), (3000, 1.0), (4000, 2.0)):
            checkpointer.save(
                step, {"w": jnp.zeros((100, 50))}, metrics={"loss": loss, "acc": 1 / 3}
            )
        checkpointer.save(5000, {"w": 1}, metrics={})
    arrays = tmp_path / "step-00004000" / "arrays-0-of-1.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:1000])
    return tmp_path


def test_a_line_for_each_step(run):
    lines = describe_path(run).splitlines()
    assert lines[0].split() == ["step", "state", "size", "when", "acc", "loss"]
    assert len({line.index(":") for line in lines[1:4]}) == 1  # columns line up
    assert lines[1].split()[:2] == ["10", "whole"]
    assert "whole, best loss" in lines[2]
    assert re.search(r" 2\d\.\d KiB ", lines[2])  # 20,000 bytes and their description
    assert lines[2].endswith("0.333333  0.25")
    assert "whole, best acc" in lines[3]
    assert "NOT WHOLE: arrays-0-of-1.safetensors has 1000 bytes instead of" in lines[4]
    assert lines[5].split()[:3] == ["5000", "whole,", "latest"]


def test_the_best_of_one_metric_and_damage(run):
    assert "best acc" not in describe_path(run, best="loss")
    assert "whole, best loss" in describe_path(run, best="loss", mode="max").splitlines()[3]
    with pytest.raises(ValueError, match="no step has a metric 'f1'; there are: acc, loss"):
        describe_path(run, best="f1")
    arrays = run / "step-00000010" / "arrays-0-of-1.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(content)
    assert "10  whole" in describe_path(run)
    assert "NOT WHOLE" in describe_path(run, check=True).splitlines()[1]


def test_files_and_folders_of_files(tmp_path):
    path = fn.checkpoint.save(
        tmp_path / "a.safetensors", {"w": np.zeros((512, 512)), "b": jnp.ones(3)}
    )
    text = describe_path(path)
    assert text.splitlines()[1].split() == ["w", "float64", "(512,", "512)", "2.0", "MiB"]
    assert text.splitlines()[-1] == "2 arrays, 2.0 MiB"
    assert describe_path(tmp_path) == f"a.safetensors\n{text}"
    with pytest.raises(ValueError, match="no steps and no safetensors files"):
        describe_path(tmp_path / "nothing")


def test_files_of_pytorch_are_described_too(tmp_path):
    path = fn.checkpoint.save_arrays(tmp_path / "a.pt", {"w": np.ones((2, 3), np.float32)})
    assert describe_path(path).splitlines()[1].split() == ["w", "float32", "(2,", "3)", "24", "B"]


def test_the_command(run):
    def call(*arguments):
        command = [sys.executable, "-m", "funcnet.checkpoint", *arguments]
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)

    done = call(str(run), "--best", "loss")
    assert (done.returncode, done.stdout) == (0, describe_path(run, best="loss") + "\n")
    failed = call(str(run / "nothing"))
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{run}/nothing holds no steps")
