"""What every test shares: devices, strictness, seeded data, and the switch to 64 bits."""

import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Thousands of small programs run once each: the time goes to LLVM, not to arithmetic. Examples run with
# the usual flags: tests/integration/environment.py.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import jax
import numpy as np
import pytest

# The same examples in every run, so that a change fails for what it changed; `--grid=full` draws new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
hypothesis.settings.register_profile("full", derandomize=False)
hypothesis.settings.load_profile("repeatable")

jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_addoption(parser):
    parser.addoption(
        "--grid",
        choices=("kinds", "full"),
        default="kinds",
        help="which triples of transforms to compose: of different kinds, or all (a quarter of an hour)",
    )
    parser.addoption(
        "--gpu-seconds",
        type=float,
        default=float("inf"),
        help="tests marked gpu that have not begun by then are skipped",
    )


STARTED = time.monotonic()


def pytest_configure(config):
    if config.getoption("grid") == "full":
        hypothesis.settings.load_profile("full")


def pytest_collection_modifyitems(items):
    """Tests marked gpu need an accelerator: JAX_PLATFORMS=cuda,cpu pytest tests/gpu."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and jax.default_backend() == "cpu":
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


@pytest.fixture
def gpu_time(request):
    """Skip what begins after the seconds that ``--gpu-seconds`` gives."""
    if time.monotonic() - STARTED > request.config.getoption("--gpu-seconds"):
        pytest.skip("no time left: --gpu-seconds")


@pytest.fixture
def rng():
    """A NumPy generator, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def x64():
    """Run the test in 64 bits."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
