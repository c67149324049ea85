"""The sources as a user gets them: laid out, compiled as C and C++, built by CMake, run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet.export import entry, native, spec
from tests.export.native.models import CASES, numbers
from tests.export.native.runner import (
    PLUGINS,
    SOURCES,
    WARNINGS,
    compiler,
    plugin_path,
    shared_library,
)
from tests.export.native.writing import write

LARGEST = 500
"""Lines of a source file."""


def run(*command, **more):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_all_files_are_laid_out(tmp_path):
    (tmp_path / "runner").mkdir()
    (tmp_path / "runner" / "mine.c").write_text("int mine;\n")
    folder = native(tmp_path / "runner")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"funcnet.h", "funcnet.cpp", "run.c", "CMakeLists.txt", "README.md", "mine.c"} <= names
    assert {"third_party/pjrt_c_api.h", "third_party/LICENSE"} <= names
    (folder / "funcnet.h").write_text("an old one")
    native(folder)
    assert (folder / "funcnet.h").read_bytes() == (SOURCES / "funcnet.h").read_bytes()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(NotADirectoryError, match="name a folder"):
        native(tmp_path / "a")


def test_the_command_lays_them_out(tmp_path):
    done = run(sys.executable, "-m", "funcnet.export", "native", tmp_path / "a")
    assert done.stdout.startswith("cmake -S ")
    assert (tmp_path / "a" / "funcnet.cpp").exists()


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.[hc]*")), ids=lambda path: path.name)
def test_sources_are_short(path):
    assert len(path.read_text().splitlines()) < LARGEST


def test_the_vendored_header_says_what_it_is():
    text = (SOURCES / "third_party" / "pjrt_c_api.h").read_text()
    assert "Licensed under the Apache License" in text
    assert text.count("changed for funcnet") == text.count("Changed for funcnet") == 1
    assert "Apache License" in (SOURCES / "third_party" / "LICENSE").read_text()


@pytest.mark.parametrize("standard", ["c11", "c17"])
def test_c_takes_the_header_and_the_program(standard, tmp_path):
    flags = (f"-std={standard}", *WARNINGS, "-pedantic-errors", "-Werror", f"-I{SOURCES}", "-c")
    run(compiler("gcc"), *flags, SOURCES / "run.c", "-o", tmp_path / "run.o")


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
def test_cpp_compiles_without_warnings(standard):
    flags = (f"-std={standard}", *WARNINGS, "-Wshadow=local", "-Werror", "-fsyntax-only")
    run(compiler(), *flags, SOURCES / "funcnet.cpp")


def test_only_the_functions_of_the_header_are_exported():
    """A program may link the runner beside other libraries."""
    listed = run(compiler("nm"), "-D", "--defined-only", shared_library()).stdout
    names = {line.split()[-1] for line in listed.splitlines() if " T " in line}
    declared = re.findall(r"FN_API [^(]*?(fn_\w+)\(", (SOURCES / "funcnet.h").read_text())
    assert names == set(declared)
    assert len(declared) > 20


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The example program, built by CMake in a folder that was laid out."""
    folder = native(tmp_path_factory.mktemp("native"))
    compiler()
    run(compiler("cmake"), "-S", folder, "-B", folder / "build")
    run("cmake", "--build", folder / "build")
    return folder / "build" / "funcnet_run"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_program_runs_a_model(plugin, built, tmp_path):
    """Bytes in, bytes out, on each plugin."""
    path = plugin_path(plugin)
    case = CASES["convolutions"]()
    file = write(tmp_path / "a.fnx", case.entries, case.params, case.state, [{"batch": 2}])
    image = numbers(2, 1, 8, 8)
    image.tofile(tmp_path / "image.bin")
    told = run(built, file, "--plugin", path).stdout
    assert (
        told == "model\ncall\n  takes image: F32[batch, 1, 8, 8]\n  gives output: F32[batch, 10]\n"
    )
    argument = f"2,1,8,8:{tmp_path / 'image.bin'}"
    environment = {**os.environ, "FUNCNET_PJRT_PLUGIN": str(path)}
    options = ("--out", tmp_path, "--times", 5)
    done = run(built, file, "call", argument, *options, env=environment)
    assert "median of 5 calls on cpu: " in done.stdout
    got = np.fromfile(tmp_path / "0.bin", "f4").reshape(2, 10)
    entry = case.entries["call"]
    want, _ = jax.jit(entry.function)(case.params, case.state, image)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


MISTAKES = {
    "a function": (["cll", "2,1,8,8"], "no function 'cll'"),
    "a shape": (["call", "2,1,8"], "is F32[batch, 1, 8, 8]; got F32[2, 1, 8]"),
    "a size": (["call", "3,1,8,8"], "there is: batch=2"),
    "no number": (["call", "two"], "no shape: two"),
    "a short file": (["call", "2,1,8,8:{file}"], "of another size than its shape"),
    "no file": (["call", "2,1,8,8:/none"], "cannot read /none"),
    "an option": (["call", "2,1,8,8", "--fast", "1"], "unknown: --fast"),
}


def test_the_program_tells_mistakes(built, tmp_path):
    plugin = plugin_path("lammps-jax-pjrt-cpu")
    case = CASES["convolutions"]()
    file = write(tmp_path / "a.fnx", case.entries, case.params, case.state, [{"batch": 2}])
    for words, sentence in MISTAKES.values():
        words = [word.format(file=file) for word in words]
        done = subprocess.run(
            [built, file, *words, "--plugin", plugin], capture_output=True, text=True, check=False
        )
        assert done.returncode in (1, 2), words
        assert sentence in done.stderr, words


def test_what_save_writes_runs(built, tmp_path):
    """The real writer's file, at every size that it was asked for."""
    plugin = plugin_path("lammps-jax-pjrt-cpu")
    net = fn.functionalize(fn.nn.Linear(3, 2))
    params, state = net.init(jax.random.key(0))
    spec = fn.export.spec(("batch", 3))
    file = fn.export.save(
        tmp_path / "a.fnx", net, params, state, spec, sizes=[{"batch": 1}, {"batch": 3}]
    )
    for size in (1, 3):
        values = numbers(size, 3)
        values.tofile(tmp_path / "x.bin")
        argument = f"{size},3:{tmp_path / 'x.bin'}"
        run(built, file, "call", argument, "--plugin", plugin, "--out", tmp_path)
        got = np.fromfile(tmp_path / "0.bin", "f4").reshape(size, 2)
        want, _ = net.apply(params, state, values)
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_the_ten_lines_of_the_documentation_run(tmp_path):
    """As they stand on the page, with the command that stands there."""
    page = (Path(fn.__file__).parents[1] / "docs" / "guides" / "export_native.md").read_text()
    (code,) = re.findall(r"```cpp\n(#include.*?)```", page, re.DOTALL)
    (flags,) = re.findall(r"\$ g\+\+ (.*?) digits\.cpp", page)
    (tmp_path / "digits.cpp").write_text(code)
    library = shared_library()
    command = [compiler(), *flags.split(), *WARNINGS, tmp_path / "digits.cpp", library]
    run(*command, f"-I{SOURCES}", f"-Wl,-rpath,{library.parent}", "-o", tmp_path / "digits")
    params = {"w": numbers(28 * 28, 10), "b": numbers(10)}

    def classify(params, state, image):
        return image.reshape(image.shape[0], -1) @ params["w"] + params["b"], state

    made = {"call": entry(classify, spec(("batch", 1, 28, 28), name="image"))}
    write(tmp_path / "digits.fnx", made, params, {}, [{"batch": 1}])
    plugin = str(plugin_path("lammps-jax-pjrt-cpu"))
    environment = {**os.environ, "FUNCNET_PJRT_PLUGIN": plugin}
    told = run(tmp_path / "digits", cwd=tmp_path, env=environment).stdout
    assert told.splitlines() == [f"{i}: {value:g}" for i, value in enumerate(params["b"])]
