"""What every test shares: devices, strictness, seeded data, and the switch to 64 bits."""

import gc
import os
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Thousands of small programs run once each: the time goes to LLVM, not to arithmetic. Examples run with
# the usual flags: tests/integration/environment.py. More of them: compile_quickly.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import jax
import jaxlib
import numpy as np
import pytest

from tests.parity import checks
from tests.parity.table import Row

# The same examples in every run, so that a change fails for what it changed; `--grid=full` draws new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
hypothesis.settings.register_profile("full", derandomize=False)
hypothesis.settings.load_profile("repeatable")

jax.config.update("jax_numpy_dtype_promotion", "strict")


QUICK = "--xla_backend_optimization_level=0"


def compile_quickly():
    """Have XLA write its kernels in the older of its two ways, which takes a third of the processor time.

    JAX 0.12 has the newer way alone, in which the suite runs there. Processes that a test starts take the same, so
    that they compute the same bits; not those of tests/export, where another XLA may read the flags.
    """
    if os.environ["XLA_FLAGS"] == QUICK and jaxlib.__version__.startswith("0.10."):
        os.environ["XLA_FLAGS"] += (
            " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        )


compile_quickly()


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
    parser.addoption("--skipped-to", metavar="FILE", help="write down which tests were skipped")
    parser.addoption(
        "--only-skipped",
        metavar="FILE",
        help="run those alone, and what meets PyTorch where it is installed: of that the comparison alone",
    )


STARTED = time.monotonic()


def pytest_configure(config):
    if config.getoption("grid") == "full":
        hypothesis.settings.load_profile("full")
    if config.getoption("skipped_to") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkippedTests(Path(config.getoption("skipped_to"))))
    if config.getoption("only_skipped"):
        checks.COMPARISON_ALONE = True


class SkippedTests:
    """Write down the ids of tests that were skipped, and of files that were skipped as a whole."""

    def __init__(self, file):
        self.file = file
        self.found = []

    def pytest_runtest_logreport(self, report):
        if report.skipped:
            self.found.append(report.nodeid)

    pytest_collectreport = pytest_runtest_logreport

    def pytest_sessionfinish(self):
        self.file.write_text("\n".join(self.found))


def pytest_collection_modifyitems(config, items):
    """Choose tests; those marked gpu need an accelerator: JAX_PLATFORMS=cuda,cpu pytest tests/gpu."""
    if config.getoption("only_skipped"):
        wanted = set(Path(config.getoption("only_skipped")).read_text().splitlines())
        items[:] = [item for item in items if item_is_wanted(item, wanted)]
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and jax.default_backend() == "cpu":
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


def item_is_wanted(item, wanted):
    """Say whether a test, or its file, was skipped where there was no PyTorch; rows were not, but met nobody."""
    row = getattr(item, "callspec", None) and item.callspec.params.get("row")
    return isinstance(row, Row) or bool({item.nodeid, item.nodeid.partition("::")[0]} & wanted)


class Memory:
    """How much a process of tests may hold before it forgets its compiled programs, thousands of them in the end."""

    most = 4 << 30


def pytest_runtest_logfinish():
    """Keep two processes of tests, and what they start, within the memory of a small machine."""
    if resident_bytes() > Memory.most:
        jax.clear_caches()
        gc.collect()
        # what is free again is not always given back: the next time is a gibibyte later
        Memory.most = max(Memory.most, resident_bytes() + (1 << 30))


def resident_bytes():
    """Read how much memory this process holds; 0 where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture
def few_objects():
    """Set aside all objects there are: `jax.checking_leaks` goes through those of a long run seconds each time."""
    gc.freeze()
    yield
    gc.unfreeze()


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
