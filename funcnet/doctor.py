"""What to paste into a bug report: ``python -m funcnet.doctor`` tells versions, devices, settings, and tries things.

The exit code is 1 if something is wrong, so that a job can begin with it.
"""

import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn

__all__ = ["Examination", "examine"]

_NEEDED = ("jax", "jaxlib", "numpy", "safetensors", "ml_dtypes")
_EXTRAS = (
    "torch", "optax", "flax", "equinox", "matplotlib", "tqdm", "pillow", "pyarrow", "tokenizers", "tensorboard", "onnx",
    "onnxruntime", "tensorflow", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "jax-metal",
)  # fmt: skip
_PREFIXES = ("JAX_", "XLA_", "LIBTPU_", "TPU_", "NCCL_", "SLURM_N")
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MPLBACKEND",
    "PYTHONHASHSEED",
)
_PATIENCE = 60.0
"""Seconds after which a trial counts as hanging."""


@dataclass
class Examination:
    """What was found.

    Attributes:
        lines: the report.
        problems: what is wrong, in words; empty if nothing is.
        hangs: whether a trial has not come back.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hangs: bool = False

    def __str__(self) -> str:
        """Lay the report out."""
        end = [f"WRONG: {problem}" for problem in self.problems] or ["nothing is wrong"]
        return "\n".join([*self.lines, "", *end])


def examine(patience: float = _PATIENCE) -> Examination:
    """Look at this installation and this machine, and try what training needs, in some ten seconds.

    Args:
        patience: seconds after which a trial counts as hanging.

    Returns:
        An `Examination`; print it.

    Example:
        >>> from funcnet.doctor import examine
        >>> examine().problems
        []
    """
    found = Examination()
    _tell_versions(found)
    _tell_machine(found)
    _tell_devices(found)
    _tell_settings(found)
    found.lines += ["", "trials"]
    for name, trial in _TRIALS.items():
        _try(found, name, trial, patience)
    return found


def _tell_versions(found: Examination) -> None:
    found.lines += ["versions", f"  funcnet {fn.__version__}, in {Path(fn.__file__).parent}"]
    found.lines.append(f"  Python {platform.python_version()}, {platform.platform()}")
    needed = {name: _version(name) for name in _NEEDED}
    extras = {name: version for name in _EXTRAS if (version := _version(name))}
    for versions in (needed, extras):
        if versions:
            found.lines.append(
                "  " + ", ".join(f"{name} {told}" for name, told in versions.items())
            )
    found.problems += [
        f"{name} is not installed: pip install {name}" for name, v in needed.items() if not v
    ]
    # each release of JAX wants a jaxlib of its own or, within 0.x, an older one of the same minor version
    minors = {name: (needed[name] or "0.0").split(".")[:2] for name in ("jax", "jaxlib")}
    if minors["jax"] != minors["jaxlib"]:
        found.problems.append(
            f"jax {needed['jax']} and jaxlib {needed['jaxlib']} do not belong together: pip install -U jax"
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _tell_machine(found: Examination) -> None:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found.lines += ["", "machine", f"  {usable} of {os.cpu_count()} cores, {platform.machine()}"]
    for name, place in (("shared memory", "/dev/shm"), ("temporary files", tempfile.gettempdir())):
        if Path(place).is_dir() and hasattr(os, "statvfs"):
            told = os.statvfs(place)
            free = told.f_bavail * told.f_frsize
            found.lines.append(f"  {name}: {_gib(free)} free in {place}")
            if free < 2**26:
                found.problems.append(f"{place} has only {_gib(free)} left: {name} need more")
    found.lines += [f"  memory: {told}" for told in _memory()]


def _memory() -> Iterator[str]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        yield f"{_gib(sizes['MemAvailable'])} available of {_gib(sizes['MemTotal'])}"
    except (OSError, KeyError, ValueError, IndexError):
        pass  # not Linux
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(place).read_text().strip() if Path(place).is_file() else "max"
        if text.isdigit() and int(text) < 2**50:
            yield f"this job may use {_gib(int(text))} ({place})"


def _tell_devices(found: Examination) -> None:
    found.lines += ["", "devices"]
    try:
        devices = jax.local_devices()
    except Exception as error:
        found.problems.append(f"JAX finds no device: {_one_line(error)}")
        return
    found.lines.append(
        f"  {jax.default_backend()}: {len(devices)} here, {jax.device_count()} in {jax.process_count()} processes"
    )
    for device in devices[:8]:
        told = device.memory_stats() or {}
        limit, used = told.get("bytes_limit"), told.get("bytes_in_use", 0)
        memory = "" if limit is None else f", {_gib(used)} of {_gib(limit)} in use"
        found.lines.append(f"  {device}: {device.device_kind}{memory}")
    asked = os.environ.get("JAX_PLATFORMS", "")
    if jax.default_backend() == "cpu" and Path("/dev/nvidia0").exists() and "cpu" not in asked:
        found.problems.append(
            'there is an NVIDIA GPU, but JAX uses the CPU: pip install "jax[cuda13]" (or set JAX_PLATFORMS=cpu)'
        )


def _tell_settings(found: Examination) -> None:
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_PREFIXES) or name in _VARIABLES
    }
    found.lines += ["", "environment variables"]
    found.lines += [f"  {name}={value}" for name, value in variables.items()] or [
        "  none that matter"
    ]
    names = ("jax_enable_x64", "jax_default_matmul_precision", "jax_debug_nans", "jax_disable_jit")
    settings = {name: getattr(jax.config, name, None) for name in names}
    found.lines.append("  " + ", ".join(f"{name} {value}" for name, value in settings.items()))
    if settings["jax_disable_jit"]:
        found.problems.append("jax_disable_jit is set: everything is slow; unset JAX_DISABLE_JIT")


def _try(found: Examination, name: str, trial: Callable[[], str], patience: float) -> None:
    """Make a trial in a thread of its own, which is left behind if it hangs."""
    outcome: list[str | BaseException] = []

    def run() -> None:
        try:
            outcome.append(trial())
        except BaseException as error:
            outcome.append(error)

    began = time.monotonic()
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(patience)
    seconds = time.monotonic() - began
    if not outcome:
        found.hangs = True
        told = f"no answer after {seconds:.0f} s"
    elif isinstance(outcome[0], BaseException):
        told = _one_line(outcome[0])
    else:
        found.lines.append(f"  {name}: {outcome[0]}, {seconds:.1f} s")
        return
    found.lines.append(f"  {name}: WRONG, {told}")
    found.problems.append(f"{name}: {told}")


def _transforms() -> str:
    """Meet a gradient with one by differences, under every transform at once."""

    def loss(w: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ w).sum()

    w, x = jnp.full((3, 2), 0.1), jnp.arange(12.0).reshape(4, 3) / 10
    grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(w, x[:, None])
    step = jnp.zeros((3, 2)).at[1, 1].set(1e-2)
    by_difference = (loss(w + step, x) - loss(w - step, x)) / 2e-2
    _meet(float(grads.sum(0)[1, 1]), float(by_difference), 1e-2)
    total = jax.jit(lambda: jax.lax.scan(lambda c, i: (c + i, None), 0, jnp.arange(101))[0])()
    _meet(float(total), 5050.0, 0)
    return "jit, grad, vmap and scan agree"


def _devices() -> str:
    """Compute on each device, and copy from one to the next."""
    devices = jax.local_devices()
    x = jnp.arange(1024.0)
    for device in devices:
        x = jax.device_put(x, device)
        _meet(float(jnp.dot(x, jnp.ones_like(x))), 1023 * 512.0, 1.0)
    return f"{len(devices)} compute and copy"


def _training() -> str:
    """Train a small model in 32 bits and in mixed precision."""
    net = fn.functionalize(fn.nn.Sequential(fn.nn.Linear(4, 16), fn.nn.Tanh(), fn.nn.Linear(16, 2)))
    batch = {"image": jnp.eye(4), "label": jnp.array([0, 1, 0, 1])}
    for model in (net, fn.mixed_precision(net)):
        optimizer = fn.optim.adam(0.05)
        run = fn.training.TrainState.create(model, optimizer, jax.random.key(0))
        objective = fn.training.supervised(model, fn.functional.cross_entropy)
        found = fn.training.overfit_one_batch(objective, optimizer, run, batch)
        if not found.can_learn:
            raise AssertionError(str(found))
    return "a model learns a batch, in float32 and in bfloat16"


def _loading() -> str:
    """Load with two processes, and in this one."""
    rows = {"x": np.arange(256, dtype=np.float32), "y": np.arange(256)}
    for workers in (0, 2):
        dataset = fn.data.ArrayDataset(rows)
        loader = fn.data.DataLoader(
            dataset, batch_size=32, shuffle=True, num_workers=workers, workers="process"
        )
        total = sum(float(batch["x"].sum()) for batch in loader)
        _meet(total, 255 * 128.0, 0)
    return "two worker processes give what one process gives"


def _files() -> str:
    """Save and load, in a folder for temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
        for name in ("a.safetensors", "a.pt"):
            path = fn.checkpoint.save_arrays(Path(folder, name), arrays)
            if not np.array_equal(fn.checkpoint.load_arrays(path)["w"], arrays["w"]):
                raise AssertionError(f"{name} gives other numbers back")
    return "what is saved is loaded"


_TRIALS: dict[str, Callable[[], str]] = {
    "transforms": _transforms,
    "devices": _devices,
    "training": _training,
    "loading": _loading,
    "files": _files,
}


def _meet(value: float, wanted: float, tolerance: float) -> None:
    if not abs(value - wanted) <= tolerance:
        raise AssertionError(f"computed {value}, but it is {wanted}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _run() -> int:
    found = examine()
    encoding = sys.stdout.encoding or "utf-8"  # which may have no sign for a letter in a path
    sys.stdout.write(f"{str(found).encode(encoding, 'backslashreplace').decode(encoding)}\n")
    sys.stdout.flush()
    if found.hangs:
        os._exit(1)  # a thread that hangs would keep the process
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(_run())
