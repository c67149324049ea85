"""``python -m funcnet.summary`` and ``python -m funcnet.doctor``: what they print, and what they exit with."""

import importlib
import io
import os
import re
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.checkpoint.contents import describe_contents
from funcnet.doctor import _TRIALS, Examination, _try, examine


def ran(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


def listed(path, monkeypatch, capsys):
    """Run ``python -m funcnet.summary PATH`` in this process; return its exit code and what it printed."""
    monkeypatch.delitem(sys.modules, "funcnet.summary", raising=False)  # else runpy warns
    monkeypatch.setattr(sys, "argv", ["summary", str(path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("funcnet.summary", run_name="__main__")
    return end.value.code, capsys.readouterr()


@pytest.fixture
def saved(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    params, state = fn.functionalize(module).init(jax.random.key(0))
    paths = [tmp_path / "m.safetensors", tmp_path / "m.pt"]
    for path in paths:
        fn.checkpoint.save_weights(path, module, params, state)
    return paths


# ---- funcnet.summary -----------------------------------------------------------------------------


def test_the_function_keeps_its_name():
    """Also where the file of the same name was imported, before or after."""
    for name in ("funcnet.summary", "funcnet.module", "funcnet.summary"):
        importlib.import_module(name)
        assert fn.summary is fn.module.summary
    assert fn.summary(nn.Linear(3, 2)).parameters == 8
    code = (
        "import funcnet.summary\nimport funcnet as fn\nfrom funcnet import nn, summary\n"
        "assert summary(nn.Linear(3, 2)).parameters == fn.summary(nn.Linear(3, 2)).parameters == 8"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_file_is_listed(saved):
    done = ran("funcnet.summary", saved[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"0\.weight +float32 +\(4, 3\) +12 +48 B", done.stdout)
    assert "7 arrays, 33 numbers, 132 B: 32 float32, 1 int32" in done.stdout


def test_formats_are_listed_alike(saved):
    tables = [describe_contents(path).split("\nnotes:")[0] for path in saved]
    assert tables[0] == tables[1]


def test_depth_joins_what_begins_alike(saved):
    lines = describe_contents(saved[0], depth=1).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["0.*", "1.*"]
    with pytest.raises(ValueError, match="depth"):
        describe_contents(saved[0], depth=0)


def test_folders_of_models_and_of_checkpoints(saved, tmp_path):
    fn.checkpoint.save_arrays(tmp_path / "hub" / "model.safetensors", {"a": np.ones(3)})
    assert "1 arrays, 3 numbers, 24 B" in describe_contents(tmp_path / "hub")
    with fn.checkpoint.Checkpointer(tmp_path / "runs") as checkpointer:
        checkpointer.save(7, {"w": np.ones(3)})
    assert "7  whole, latest" in describe_contents(tmp_path / "runs")


@pytest.mark.parametrize("kind", [0, 1], ids=["safetensors", "pt"])
def test_broken_files_give_one_line(saved, kind, rng, tmp_path, monkeypatch, capsys):
    whole = saved[kind].read_bytes()
    broken = tmp_path / "broken"
    damages = [whole[:cut] for cut in (0, 3, 8, 100, len(whole) // 2, len(whole) - 1)]
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.integers(min(len(whole), 700))] = rng.integers(256)
        damages.append(bytes(damaged))
    for content in damages:
        broken.write_bytes(content)
        status, printed = listed(broken, monkeypatch, capsys)
        assert (status, bool(printed.out)) in {
            (0, True),
            (1, False),
        }  # a changed number is no damage to be seen
        assert printed.err.count("\n") == status


def test_what_is_not_there_gives_one_line(tmp_path, monkeypatch, capsys):
    status, printed = listed(tmp_path / "nothing", monkeypatch, capsys)
    assert (status, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert "there is no file or folder" in printed.err


def test_a_terminal_of_few_letters_is_no_error(tmp_path, monkeypatch, capsys):
    fn.checkpoint.save_arrays(tmp_path / "m.safetensors", {"größe": np.ones(3, np.float32)})
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert listed(tmp_path / "m.safetensors", monkeypatch, capsys)[0] == 0
    ascii_only.seek(0)
    assert "gr\\xf6\\xdfe" in ascii_only.read()


# ---- funcnet.doctor ------------------------------------------------------------------------------


def test_a_healthy_machine_is_told_so():
    done = ran("funcnet.doctor", XLA_FLAGS="", JAX_NUM_CPU_DEVICES="2", MY_SECRET="hidden")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "versions",
        f"jax {jax.__version__}",
        "cpu: 2 here",
        "JAX_NUM_CPU_DEVICES=2",
        *_TRIALS,
    ):
        assert words in done.stdout
    assert done.stdout.rstrip().endswith("nothing is wrong")
    assert "hidden" not in done.stdout


def test_a_platform_that_is_not_there_is_wrong():
    done = ran("funcnet.doctor", JAX_PLATFORMS="cuda" if jax.default_backend() == "cpu" else "tpu")
    assert done.returncode == 1
    assert "WRONG: JAX finds no device" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_trial_that_fails_or_hangs_is_wrong():
    import threading

    waiting = threading.Event()
    found = Examination()
    _try(found, "fails", lambda: 1 // 0, 5.0)
    _try(found, "hangs", lambda: str(waiting.wait(30)), 0.05)
    waiting.set()
    assert found.problems[0] == "fails: ZeroDivisionError: integer division or modulo by zero"
    assert found.problems[1].startswith("hangs: no answer after")
    assert found.hangs
    assert str(found).count("WRONG") == 4


def test_a_package_that_is_missing_is_wrong(monkeypatch):
    from importlib import metadata

    def without(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("funcnet.doctor._TRIALS", {})
    monkeypatch.setattr("funcnet.doctor.metadata.version", without)
    assert "safetensors is not installed: pip install safetensors" in examine().problems
