"""The C++ runner on each CPU plugin, and libtorch from C++, beside JAX's own compiled call.

All sides run in one process and take turns: the runner and libtorch as shared libraries through `ctypes`, whose two or
three microseconds a call count against them. Arrays lie in NumPy's memory before and after. ``SIDES`` has the form of
those of `benchmarks.export`.

    python -m benchmarks.export_native --only "MNIST CNN" --batches 1 --rounds 50
    python -m benchmarks.export_native --one-core  # the processor's time on one core: for a machine that others use
"""

import argparse
import ctypes
import hashlib
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import funcnet as fn
from benchmarks.interleave import interleave, table
from funcnet import export

__all__ = ["SIDES"]

PLUGINS = {
    "xla-cpu-pjrt": "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
    "fastatomstruct-xla-cpu": "fastatomstruct_xla_cpu/libpjrt_cpu.so",
    "lammps-jax-pjrt-cpu": "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
}
SOURCES = Path(fn.__file__).parent / "export" / "native" / "sources"
CODES = {"float32": 12, "int32": 4}
"""fn_dtype's, of the models' inputs."""

Call = Callable[[], np.ndarray]


class Array(ctypes.Structure):
    """fn_array."""

    _fields_ = [
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 32),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
    ]


def array_of(value: np.ndarray) -> Any:
    made = Array(dtype=CODES[value.dtype.name], rank=value.ndim)
    made.shape[: value.ndim] = value.shape
    made.data, made.bytes = value.ctypes.data, value.nbytes
    return ctypes.pointer(made)


def compiled(sources: list[Path], flags: list[str]) -> ctypes.CDLL:
    """Compile a shared library once, and load it."""
    command = ["g++", "-std=c++20", "-O2", "-shared", "-fPIC", *map(str, sources), *flags]
    read = [*sources, *sorted(SOURCES.rglob("*.h*"))]
    told = hashlib.sha256(b"".join([repr(command).encode(), *(each.read_bytes() for each in read)]))
    folder = Path.home() / ".cache" / "funcnet-benchmarks"  # libtorch's headers take a minute
    made = folder / f"{told.hexdigest()[:16]}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([*command, "-o", str(made)], check=True)
    return ctypes.CDLL(str(made))


@cache
def runner() -> ctypes.CDLL:
    library = compiled(sorted(SOURCES.glob("*.cpp")), [f"-I{SOURCES}", "-ldl", "-lpthread"])
    library.fn_error.restype = ctypes.c_char_p
    return library


def checked(code: int) -> None:
    if code:
        raise RuntimeError(runner().fn_error().decode())


@cache
def device(plugin: str) -> ctypes.c_void_p:
    package, _, rest = PLUGINS[plugin].partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{plugin} is not installed")
    (place, *_) = found.submodule_search_locations
    handle = ctypes.c_void_p()
    checked(runner().fn_device_open(os.fsencode(Path(place) / rest), None, ctypes.byref(handle)))
    return handle


def native(plugin: str, pair: Any, folder: Path) -> Call:
    """Save the artifact for this batch; run it in the C++ runner."""
    spec = export.spec(("batch", *pair.x.shape[1:]), pair.x.dtype, "x")
    size = {"batch": pair.x.shape[0]}
    file = export.save(
        folder / f"{plugin}.fnx", pair.net, pair.params, pair.state, spec, sizes=[size]
    )
    model = ctypes.c_void_p()
    checked(runner().fn_model_open(device(plugin), os.fsencode(file), ctypes.byref(model)))
    output, given = Array(), array_of(pair.x)
    one = ctypes.c_size_t(1)

    def call() -> np.ndarray:
        checked(runner().fn_call(model, b"call", given, one, taken, one))
        return result

    # the first call says how long the output is; then it has memory of its own, as a program would keep
    taken, result = ctypes.pointer(output), np.empty(0)
    call()
    result = np.empty(list(output.shape[: output.rank]), np.float32)
    runner().fn_array_free(taken)
    taken = array_of(result)
    return call


def libtorch(pair: Any, folder: Path) -> Call:
    """Trace and freeze the PyTorch model; run it by libtorch, called from C++."""
    import torch

    root, file = Path(torch.__file__).parent, folder / "model.pt"
    with torch.inference_mode():
        example = torch.from_numpy(pair.x)
        torch.jit.save(torch.jit.freeze(torch.jit.trace(pair.theirs, example)), str(file))
        result = pair.theirs(example).numpy().copy()
    flags = [f"-I{root}/include", f"-I{root}/include/torch/csrc/api/include", f"-L{root}/lib"]
    flags += [f"-Wl,-rpath,{root}/lib", "-ltorch", "-ltorch_cpu", "-lc10"]
    flags += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    library = torch_library(tuple(flags))
    library.model_open.restype = ctypes.c_void_p
    model = ctypes.c_void_p(library.model_open(os.fsencode(file)))
    given, taken = array_of(pair.x), array_of(result)

    def call() -> np.ndarray:
        if library.model_call(model, given, taken):
            raise RuntimeError("libtorch failed")
        return result

    return call


@cache
def torch_library(flags: tuple[str, ...]) -> ctypes.CDLL:
    return compiled([Path(__file__).with_name("export_libtorch.cpp")], list(flags))


SIDES = {f"funcnet, C++ on {plugin}": partial(native, plugin) for plugin in PLUGINS}
SIDES |= {"libtorch, C++": libtorch}


def main() -> None:
    """Print a table for each model and batch."""
    from benchmarks.export_models import MODELS, make
    from benchmarks.export_ours import jitted

    sides = {"JAX, compiled": jitted, **SIDES}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--sides", nargs="+", choices=sides, default=list(sides))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--one-core", action="store_true", help="processor time on one core")
    args = parser.parse_args()
    threads = 1 if args.one_core else 2
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    clock = time.process_time if args.one_core else time.perf_counter
    import torch

    torch.set_num_threads(threads)
    fn.keep_memory()
    for name in args.only:
        for batch in args.batches:
            pair = make(name, batch)
            with tempfile.TemporaryDirectory() as folder:
                calls = {each: sides[each](pair, Path(folder)) for each in args.sides}
                expected = pair.theirs(torch.from_numpy(pair.x)).detach().numpy()
                for each, call in calls.items():
                    far = np.abs(call() - expected).max() / np.abs(expected).max()
                    if not far < 1e-4:
                        raise AssertionError(f"{each}: outputs are {far:.1e} apart")
                medians = interleave(calls, rounds=args.rounds, clock=clock)
            print(table(f"{name}, batch {batch}", medians, args.sides[0]), flush=True)


if __name__ == "__main__":
    main()
