"""The main job, shortened: what it prints, what it saves, and that PyTorch reads it."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn
from tests.integration.environment import AS_USERS_RUN

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("mnist")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/mnist.py"), "--epochs", "1", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=AS_USERS_RUN,
    )
    assert done.returncode == 0, done.stderr
    return out, done


def test_it_learns_and_says_so(run):
    _, done = run
    accuracy = float(re.search(r"^test accuracy: ([\d.]+)%", done.stdout, re.MULTILINE)[1])
    assert accuracy > 88
    assert "DigitNet" in done.stdout
    assert "compiling" in done.stderr


def test_it_draws_two_pictures(run):
    for name in ("curves.png", "mistakes.png"):
        assert (run[0] / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_file_and_a_kept_run_is_found(run, tmp_path):
    example, kept = str(ROOT / "examples/mnist.py"), tmp_path / "kept"
    subprocess.run(
        [sys.executable, example, "--epochs", "1", "--out", str(tmp_path), "--keep", str(kept)],
        capture_output=True,
        check=True,
        env=AS_USERS_RUN,
    )
    assert (tmp_path / "model.safetensors").read_bytes() == (
        run[0] / "model.safetensors"
    ).read_bytes()
    saved = fn.checkpoint.Checkpointer(kept).latest()
    assert saved is not None
    assert saved.step == 39
    weights = fn.checkpoint.load_arrays(tmp_path / "model.safetensors")
    params = saved.load(select="run.params.*")["run"].params
    np.testing.assert_array_equal(params["head"]["weight"], weights["head.weight"])


def test_torch_opens_the_file_and_agrees(run):
    torch = pytest.importorskip("torch")
    from mnist import DigitNet, images_of
    from safetensors.torch import load_file

    class TorchNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(1, 32, 3, padding=1)
            self.norm1 = torch.nn.BatchNorm2d(32)
            self.conv2 = torch.nn.Conv2d(32, 64, 3, padding=1)
            self.norm2 = torch.nn.BatchNorm2d(64)
            self.dropout = torch.nn.Dropout(0.3)
            self.head = torch.nn.Linear(64 * 7 * 7, 10)

        def forward(self, x):
            x = torch.nn.functional.max_pool2d(self.norm1(self.conv1(x)).relu(), 2)
            x = torch.nn.functional.max_pool2d(self.norm2(self.conv2(x)).relu(), 2)
            return self.head(self.dropout(x.flatten(1)))

    path = run[0] / "model.safetensors"
    theirs = TorchNet().eval()
    theirs.load_state_dict(load_file(path), strict=True)
    model = DigitNet()
    params, state = fn.checkpoint.load_weights(path, model)
    images = images_of(fn.data.mnist()[1][:200])
    ours, _ = jax.jit(fn.functionalize(model).apply)(params, state, images)
    expected = theirs(torch.from_numpy(np.array(images))).detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=1e-5)
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max() + 1e-5


def test_wrong_data_is_refused_with_a_reason(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/mnist.py"), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=AS_USERS_RUN,
    )
    assert done.returncode != 0
    assert "train-images" in done.stderr
