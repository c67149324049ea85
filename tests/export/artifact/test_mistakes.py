"""What people get wrong when they save, call and load: each error says what came and what to write instead."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import export, nn
from funcnet.core.errors import ExportError, MissingKeyError
from funcnet.export.__main__ import command_line
from funcnet.export.lengths import evaluate_length
from funcnet.export.programs.calling import ProgramSet

X = export.spec(("batch", 3), name="x")


def linear():
    net = fn.functionalize(nn.Linear(3, 2))
    return net, *net.init(jax.random.key(0))


def same(params, state, x):
    return x, state


SAVES = {
    "no state": (TypeError, "model's state", lambda n, p, s: (n, p, X), {}),
    "a pair": (TypeError, "model's params.*got tuple", lambda n, p, s: (n, (p, s), X), {}),
    "a shape": (
        TypeError,
        r"export.spec\(\('batch', 3\)\)",
        lambda n, p, s: (n, p, s, ("batch", 3)),
        {},
    ),
    "a name": (TypeError, "got 'image'", lambda n, p, s: (n, p, s, {"x": "image"}), {}),
    "64 bits": (
        ExportError,
        "jax_enable_x64",
        lambda n, p, s: (same, {}, {}, export.spec((3,), "float64")),
        {},
    ),
    "no pair": (
        TypeError,
        r"returns \(output, state\).*an array",
        lambda n, p, s: (lambda p, s, x: x, {}, {}, export.spec((2, 3))),
        {},
    ),
    "no state argument": (
        TypeError,
        "Give a Functional",
        lambda n, p, s: (lambda p, x: x, {}, {}, X),
        {},
    ),
    "a method": (
        TypeError,
        "functionalize",
        lambda n, p, s: (nn.Linear(3, 2).extra_repr, p, s, X),
        {},
    ),
    "numbers": (TypeError, "list of dicts", lambda n, p, s: (n, p, s, X), {"sizes": [1, 32]}),
    "a dict": (TypeError, "list of dicts", lambda n, p, s: (n, p, s, X), {"sizes": {"batch": 1}}),
    "a platform": (
        ValueError,
        "cpu, cuda, rocm, tpu",
        lambda n, p, s: (n, p, s, X),
        {"platforms": ["gpu"]},
    ),
    "metadata": (TypeError, "dict of texts", lambda n, p, s: (n, p, s, X), {"metadata": ["me"]}),
}


@pytest.mark.parametrize("mistake", SAVES)
def test_mistakes_when_saving(mistake, tmp_path):
    kind, words, arguments, keywords = SAVES[mistake]
    with pytest.raises(kind, match=words):
        export.save(tmp_path / "m.fnx", *arguments(*linear()), **keywords)
    assert not list(tmp_path.iterdir())


def test_dropout_without_a_key_is_told_how_a_key_becomes_an_input(tmp_path):
    net = fn.functionalize(nn.Dropout(0.5))
    with pytest.raises(MissingKeyError, match="wrap_key_data"):
        export.save(tmp_path / "m.fnx", net, *net.init(jax.random.key(0)), X, train=True)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="name a file"):
        export.save(tmp_path, *linear(), X)


@pytest.mark.parametrize("length", ["", "batch size", "batch-size", "2*", "f(x)"])
def test_names_of_lengths_are_checked_where_they_are_written(length):
    with pytest.raises(ValueError, match="length"):
        export.spec((length, 3))


@pytest.mark.parametrize("text", ["(((9^8)^8)^8)^8", "9^8*9^8*9^8"])
def test_lengths_that_would_fill_the_memory_are_refused(text):
    with pytest.raises(ValueError, match="no length"):
        evaluate_length(text, {})


def test_example_arrays_have_the_dtype_that_jax_gives_them(tmp_path):
    path = export.save(tmp_path / "m.fnx", same, {}, {}, np.ones(3))
    assert export.load(path)(np.ones(3)).dtype == jnp.float32


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m.fnx"
    metadata = {"by": "\x1b[2J"}
    sizes = [{"batch": 8}]
    return path, export.load(
        export.save(path, *linear(), X, symbolic=False, sizes=sizes, metadata=metadata)
    )


def test_mistakes_when_calling(loaded):
    _, artifact = loaded
    for call, kind, words in (
        (lambda: artifact(jnp.ones((2, 3))), ExportError, r"x of shape \(2, 3\)"),
        (lambda: artifact(jnp.ones((8, 3)), train=True), TypeError, "fixed when it was exported"),
        (lambda: artifact(), TypeError, "takes 1 input: x; "),
        (
            lambda: artifact.apply(artifact.params, jnp.ones(3)),
            TypeError,
            "state: expected an empty",
        ),
    ):
        with pytest.raises(kind, match=words):
            call()


def test_programs_for_another_platform_are_no_fault_of_a_file(loaded):
    """A process without the device compiles those that it can run."""
    _, artifact = loaded
    record = artifact["call"].record
    elsewhere = dataclasses.replace(record.programs[0], platform="tpu", portable=False)
    weights = [export.spec(a.shape, a.dtype, n) for n, a in artifact.stored.items()]
    inputs = [*weights, *record.inputs]
    programs = ProgramSet("call", [elsewhere], artifact.program, inputs, record.outputs)
    programs.compile()
    with pytest.raises(ExportError, match="exported for tpu alone"):
        programs(*artifact.stored.values(), jnp.ones((8, 3)))


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"\x40" + bytes(7) + b'{"w"', "safetensors"),
        (b"\x08\x0a", "ONNX"),
        (b"text", "no artifact"),
    ],
    ids=["weights", "onnx", "text"],
)
def test_other_files_are_known_by_their_beginning(begin, words, tmp_path):
    (tmp_path / "m.fnx").write_bytes(begin)
    with pytest.raises(ExportError, match=words):
        export.load(tmp_path / "m.fnx")


def test_the_command_line_teaches(loaded, capsys):
    assert command_line([]) == 0
    assert "inspect" in capsys.readouterr().out
    path, _ = loaded
    assert command_line(["inspect", str(path.parent)]) == 1
    assert str(path.parent) in capsys.readouterr().err
    assert command_line(["inspect", str(path), "--program", "none"]) == 1
    assert "programs/call.cpu.batch=8.mlirbc" in capsys.readouterr().err
    assert command_line(["inspect", str(path)]) == 0
    assert "by: \\x1b[2J" in capsys.readouterr().out
