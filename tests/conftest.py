"""What every test shares: devices, strictness, seeded data, and the switch to 64 bits."""

import os

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


def pytest_configure(config):
    if config.getoption("grid") == "full":
        hypothesis.settings.load_profile("full")


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
