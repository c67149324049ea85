"""CONTRIBUTING.md's worked diffs are applied to a copy of the package, and what they add is run."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.meta.source import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
STEP = re.compile(
    r"(?P<how>New file|In) `(?P<path>[^`]+)`:\n\n```(?:python|diff)\n(?P<body>.*?)```", re.DOTALL
)


def apply(step, root):
    """Write a new file, or insert the lines marked with + after the line before them."""
    path = root / step["path"]
    if step["how"] == "New file":
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step["body"])
        return
    lines = path.read_text().splitlines()
    at = None
    for line in step["body"].splitlines():
        if line.startswith("+"):
            assert at is not None, "an addition needs a line before it"
            lines.insert(at, line[1:])
        else:
            assert line[1:] in lines, f"{path} has no line {line[1:]!r}"
            at = lines.index(line[1:])
        at += 1
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_a_layer_a_loss_an_optimizer_and_a_dataset_are_added(tmp_path):
    for folder in ("funcnet", "tests"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    steps = [match.groupdict() for match in STEP.finditer(TEXT)]
    assert len(steps) == 18
    for step in steps:
        apply(step, tmp_path)
    added = [step["path"] for step in steps if step["how"] == "New file"]
    tests = [path for path in added if path.startswith("tests/")]
    assert len(tests) == 4
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("-m", "tests.meta.test_public_api")
    names = "log_cosh or snake or signum or moons or Snake or LogCosh"
    run("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests,
        "tests/meta/test_rooms.py", "tests/meta/test_public_api.py")  # fmt: skip
    run(
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "tests/meta/test_docstrings.py",
        "-k",
        names,
    )
