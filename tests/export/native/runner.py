"""The runner as a shared library, called through ctypes; and where plugins lie."""

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import funcnet
from funcnet.core.safetensors_format import DTYPES

SOURCES = Path(funcnet.__file__).parent / "export" / "native" / "sources"

PLUGINS = {
    "xla-cpu-pjrt": "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
    "fastatomstruct-xla-cpu": "fastatomstruct_xla_cpu/libpjrt_cpu.so",
    "lammps-jax-pjrt-cpu": "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
}
"""Packages with a CPU plugin, oldest first, and where it lies in site-packages."""

CODES = (
    "OK",
    "ARGUMENT",
    "FILE",
    "FORMAT",
    "PLUGIN",
    "NAME",
    "SHAPE",
    "DTYPE",
    "COMPILE",
    "EXECUTE",
    "MEMORY",
)

NAMES = ["INVALID", "BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F16", "BF16"]
NAMES += ["F32", "F64", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "C64"]

MOST_AXES = 32


def plugin_path(name: str) -> Path:
    """Find a plugin, or skip."""
    package, _, rest = PLUGINS[name].partition("/")
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    files = [Path(place) / rest for place in places if (Path(place) / rest).exists()]
    if not files:
        pytest.skip(f"the package {name} is not installed")
    return files[0]


def compiler(name: str = "g++") -> str:
    """Find a compiler, or skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


def build(name: str, sources, flags=(), compile_with: str = "g++") -> Path:
    """Compile sources once for all processes and runs: the file's name tells what it is made of."""
    files = sorted([*SOURCES.rglob("*.h"), *SOURCES.glob("*.hpp"), *map(Path, sources)])
    text = b"".join(path.read_bytes() for path in files) + repr((compile_with, flags)).encode()
    folder = Path(tempfile.gettempdir()) / f"funcnet-native-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}"
    if not made.exists():
        part = made.with_suffix(f".{os.getpid()}")
        command = [compiler(compile_with), *flags, f"-I{SOURCES}", "-o", part, *sources]
        command += ["-ldl", "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr  # no warnings
        part.replace(made)
    return made


WARNINGS = ("-Wall", "-Wextra", "-Wpedantic")


def shared_library() -> Path:
    flags = ("-std=c++17", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", *WARNINGS)
    return build("libfuncnet", [SOURCES / "funcnet.cpp"], flags)


class Array(ctypes.Structure):
    """fn_array."""

    _fields_ = [
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MOST_AXES),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
    ]


class Spec(ctypes.Structure):
    """fn_spec."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("text", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MOST_AXES),
    ]


class Refused(Exception):
    """A code other than OK, by its name, and the sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(f"{CODES[code]}: {sentence}")
        self.code, self.sentence = CODES[code], sentence


def described(value: np.ndarray) -> Array:
    """Describe a NumPy array, whose memory is used."""
    made = Array(dtype=dtype_code(value.dtype), rank=value.ndim)
    made.shape[: value.ndim] = value.shape
    made.data, made.bytes = value.ctypes.data, value.nbytes
    return made


def dtype_code(dtype) -> int:
    (name,) = [name for name, each in DTYPES.items() if each == dtype]
    return NAMES.index(name)


class Library:
    """The C functions, raising `Refused`."""

    def __init__(self) -> None:
        self.c = ctypes.CDLL(str(shared_library()))
        for name in ("error", "device_platform", "device_version", "model_name"):
            getattr(self.c, f"fn_{name}").restype = ctypes.c_char_p
        self.c.fn_model_metadata.restype = self.c.fn_function_name.restype = ctypes.c_char_p
        self.c.fn_function_count.restype = self.c.fn_dtype_bytes.restype = ctypes.c_size_t
        self.c.fn_dtype_name.restype = ctypes.c_char_p

    def check(self, code: int) -> None:
        if code:
            raise Refused(code, self.c.fn_error().decode())

    def device(self, plugin, options: str | None = None) -> "Device":
        handle = ctypes.c_void_p()
        path = None if plugin is None else os.fsencode(plugin)
        text = None if options is None else options.encode()
        self.check(self.c.fn_device_open(path, text, ctypes.byref(handle)))
        return Device(self, handle)


class Device:
    """fn_device."""

    def __init__(self, library: Library, handle) -> None:
        self.library, self.handle = library, handle

    @property
    def platform(self) -> str:
        return self.library.c.fn_device_platform(self.handle).decode()

    def open(self, path) -> "Model":
        handle = ctypes.c_void_p()
        code = self.library.c.fn_model_open(self.handle, os.fsencode(path), ctypes.byref(handle))
        self.library.check(code)
        return Model(self.library, handle)

    def tensor(self, value: np.ndarray) -> ctypes.c_void_p:
        handle, array = ctypes.c_void_p(), described(value)
        code = self.library.c.fn_tensor_new(self.handle, ctypes.byref(array), ctypes.byref(handle))
        self.library.check(code)
        return handle

    def close(self) -> None:
        self.library.c.fn_device_close(self.handle)


class Model:
    """fn_model."""

    def __init__(self, library: Library, handle) -> None:
        self.library, self.c, self.handle = library, library.c, handle

    def arity(self, name: str | None) -> tuple[int, int]:
        inputs, outputs = ctypes.c_size_t(), ctypes.c_size_t()
        text = None if name is None else name.encode()
        self.library.check(
            self.c.fn_function_arity(self.handle, text, ctypes.byref(inputs), ctypes.byref(outputs))
        )
        return inputs.value, outputs.value

    def spec(self, name: str | None, index: int, kind: str = "input") -> Spec:
        made, text = Spec(), None if name is None else name.encode()
        function = getattr(self.c, f"fn_function_{kind}")
        self.library.check(function(self.handle, text, ctypes.c_size_t(index), ctypes.byref(made)))
        return made

    def call(self, name: str | None, *values: np.ndarray) -> list[np.ndarray]:
        """Call a function; outputs are allocated by the library."""
        _, count = self.arity(name)
        inputs = (Array * max(len(values), 1))(*map(described, values))
        outputs = (Array * max(count, 1))()
        text = None if name is None else name.encode()
        code = self.c.fn_call(
            self.handle,
            text,
            inputs,
            ctypes.c_size_t(len(values)),
            outputs,
            ctypes.c_size_t(count),
        )
        self.library.check(code)
        made = [as_numpy(each) for each in outputs[:count]]
        for each in outputs[:count]:
            self.c.fn_array_free(ctypes.byref(each))
        return made

    def run(self, name: str | None, *tensors) -> list[ctypes.c_void_p]:
        """Call a function with tensors."""
        _, count = self.arity(name)
        inputs = (ctypes.c_void_p * max(len(tensors), 1))(*(each.value for each in tensors))
        outputs = (ctypes.c_void_p * max(count, 1))()
        text = None if name is None else name.encode()
        code = self.c.fn_run(
            self.handle,
            text,
            inputs,
            ctypes.c_size_t(len(tensors)),
            outputs,
            ctypes.c_size_t(count),
        )
        self.library.check(code)
        return [ctypes.c_void_p(each) for each in outputs[:count]]

    def read(self, tensor) -> np.ndarray:
        array = Array()
        self.library.check(self.c.fn_tensor_read(tensor, ctypes.byref(array)))
        made = as_numpy(array)
        self.c.fn_array_free(ctypes.byref(array))
        return made

    def close(self) -> None:
        self.c.fn_model_close(self.handle)


def as_numpy(array: Array) -> np.ndarray:
    """Copy what an fn_array holds."""
    text = ctypes.string_at(array.data, array.bytes)
    dtype = DTYPES[NAMES[array.dtype]]
    return np.frombuffer(text, dtype).reshape(array.shape[: array.rank]).copy()
