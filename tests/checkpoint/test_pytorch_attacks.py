"""Pickles that were made to do harm: nothing of them runs, and each is refused with the file's name."""

import ast
import os
import pickle
import struct

import numpy as np
import pytest

from funcnet.checkpoint.files.pytorch_file import PytorchFile, read_pytorch
from funcnet.checkpoint.files.pytorch_names import KNOWN
from tests.checkpoint.pytorch_assembly import (
    ORDERED_DICT,
    archive,
    dictionary,
    legacy,
    named,
    number,
    numbers,
    outcome,
    pickled,
    refuse,
    storage,
    tensor,
    text,
)
from tests.meta.source import PACKAGE, imports

GOOD = tensor()


@pytest.fixture(autouse=True)
def nothing_may_run(monkeypatch):
    """Fail if anything is unpickled, or any of the attacks' targets is reached."""

    def reached(*args, **settings):
        pytest.fail(f"reached with {args} {settings}")

    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, reached)
    monkeypatch.setattr(os, "system", reached)


FORMS = {"zip": archive, "legacy": legacy}


@pytest.fixture(params=FORMS)
def write(request, tmp_path):
    """Write a pickle of a value to a file of either form."""
    return lambda value: FORMS[request.param](tmp_path / "evil.pt", pickled(value))


def test_the_assembled_file_is_read(write):
    array = read_pytorch(write(dictionary(good=GOOD)))["good"]
    assert array.tolist() == [0, 1, 2, 3]


def test_no_file_of_the_room_can_unpickle_or_import_by_name():
    for path in sorted((PACKAGE / "checkpoint").rglob("*.py")):
        found = {name.split(".")[0] for name, _ in imports(path)}
        assert not found & {"pickle", "_pickle", "importlib", "marshal", "shelve", "runpy"}, path
    tree = ast.parse((PACKAGE / "checkpoint/files/pickle_machine.py").read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"getattr", "setattr", "eval", "exec", "__import__", "globals", "vars"}


# ---- names ---------------------------------------------------------------------------------------

TARGETS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("builtins", "eval"),
    ("__builtin__", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("operator", "attrgetter"),
    ("functools", "partial"),
    ("subprocess", "Popen"),
    ("importlib", "import_module"),
    ("types", "FunctionType"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "_reconstructor"),
    ("pickle", "loads"),
    ("numpy", "load"),
    ("torch", "load"),
    ("torch", "Tensor.__reduce__"),
    ("torch.hub", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.jit._serialization", "load"),
    ("torch._utils", "_import_dotted_name"),
    ("collections", "OrderedDict.__class__"),
    ("collections", "__builtins__"),
    ("funcnet.checkpoint.files.pytorch_names", "machine_for"),
    ("", ""),
    ("..", "system"),
]

COMMAND = b"(" + text("touch /tmp/harm") + b"t"

CALLS = {
    "called": lambda name: name + COMMAND + b"R",
    "made": lambda name: name + COMMAND + b"\x81",
    "made with settings": lambda name: name + COMMAND + b"}\x92",
    "named only": lambda name: name,
    "given a state": lambda name: name + b")\x81" + dictionary(cmd=text("harm")) + b"b",
    "called again": lambda name: name + COMMAND + b"R" + COMMAND + b"R",
    "given items": lambda name: name + b")R(" + text("a") + text("b") + b"u",
    "appended to": lambda name: name + b")R(" + text("a") + b"e" + text("b") + b"a",
}

PLACES = {
    "a value": lambda evil: dictionary(good=GOOD, evil=evil),
    "in a list": lambda evil: dictionary(good=GOOD, evil=b"](" + evil + b"e"),
    "a hook": lambda evil: dictionary(good=tensor(hooks=ORDERED_DICT + text("x") + evil + b"s")),
    "attributes": lambda evil: dictionary(good=GOOD) + dictionary(_metadata=evil) + b"b",
    "attributes of attributes": lambda evil: dictionary(good=GOOD) + evil + b"b",
    "overwritten": lambda evil: dictionary(good=evil) + text("good") + GOOD + b"s",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", PLACES)
def test_foreign_names_are_refused_and_can_be_left_out(write, place, call, request):
    every = 1 if request.config.getoption("grid") == "full" else 6
    for module, name in TARGETS[
        (list(PLACES).index(place) + list(CALLS).index(call)) % every :: every
    ]:
        shown = f"{module.replace('__builtin__', 'builtins').replace('copy_reg', 'copyreg')}.{name}"
        spellings = [named(module, name)]
        spellings += [text(module) + text(name) + b"\x93"]
        for spelling in spellings:
            path = write(PLACES[place](CALLS[call](spelling)))
            for read in (read_pytorch, PytorchFile):
                with pytest.raises(ValueError, match=f"^{path}: ") as caught:
                    read(path)
                assert shown in str(caught.value)
            assert read_pytorch(path, select="good")["good"].tolist() == [0, 1, 2, 3]


HOLDERS = {
    "alone": lambda evil: evil,
    "a key": lambda evil: b"}" + evil + b"Ns",
    "a storage's class": lambda evil: tensor(kept=storage(kind=evil)),
    "a storage": lambda evil: tensor(kept=evil),
    "a parameter's data": lambda evil: (
        named("torch._utils", "_rebuild_parameter") + b"(" + evil + b"\x89" + ORDERED_DICT + b"tR"
    ),
    "a tensor's class": lambda evil: (
        named("torch._tensor", "_rebuild_from_type_v2")
        + b"(ctorch._utils\n_rebuild_tensor_v2\n"
        + evil
        + b")}tR"
    ),
    "a tensor's function": lambda evil: (
        named("torch._tensor", "_rebuild_from_type_v2") + b"(" + evil + b"ctorch\nTensor\n)}tR"
    ),
    "a default": lambda evil: named("collections", "defaultdict") + b"(" + evil + b"tR",
    "outside": lambda evil: evil + b"Q",
    "a name": lambda evil: evil + text("system") + b"\x93",
    "an argument tuple": lambda evil: named("torch", "Size") + evil + b"R",
    "an element of a size": lambda evil: named("torch", "Size") + b"(" + evil + b"ttR",
    "a shape's size": lambda evil: tensor().replace(numbers((4,)), b"(" + evil + b"t", 1),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_foreign_names_within_what_is_known(write, holder):
    for call in CALLS.values():
        refuse(write(HOLDERS[holder](call(named("os", "system")))))
        refuse(write(dictionary(good=GOOD, evil=HOLDERS[holder](call(named("os", "system"))))))


class Harm:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


HARMS = [Harm(os.system, ("harm",)), Harm(eval, ("harm()",)), Harm(open, ("harm", "w"))]
PROGRAMS = [pickle.dumps({"x": harm}, protocol) for harm in HARMS for protocol in range(6)]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_what_pickle_itself_makes_of_harmful_objects(tmp_path, program):
    refuse(archive(tmp_path / "x.pt", program))
    refuse(legacy(tmp_path / "y.pt", program))


# ---- known functions with other arguments --------------------------------------------------------

VALUES = {
    "nothing": b"N",
    "text": text("x"),
    "number": number(7),
    "negative": number(-1),
    "huge": number(2**70),
    "float": b"G" + struct.pack(">d", 1e300),
    "empty": b")",
    "list": b"]",
    "dict": b"}",
    "set": b"\x8f",
    "bytes": b"B" + struct.pack("<I", 2) + b"ab",
    "class": b"ctorch\nTensor\n",
    "dtype": b"ctorch\nfloat32\n",
    "function": b"ctorch\nSize\n",
    "storage": storage(),
    "tensor": GOOD,
    "numbers": b"(K\1K\2t",
}


FUNCTIONS = [name for name, value in KNOWN.items() if callable(value)]


@pytest.mark.parametrize(
    "name", [*FUNCTIONS, "torch.float32", "torch.FloatStorage", "torch.Tensor"]
)
def test_known_names_take_no_other_arguments(tmp_path, name):
    """Called with one, two, three or seven values of every kind: refused, or a plain value."""
    module, _, last = name.rpartition(".")
    for kind, value in VALUES.items():
        for count in (0, 1, 2, 3, 7, 33):
            call = named(module, last) + b"(" + value * count + b"tR"
            path = archive(tmp_path / "x.pt", pickled(dictionary(x=call)))
            made = outcome(path)
            if not isinstance(made, ValueError):
                kinds = dict | set | str | bytes | tuple | complex | np.ndarray
                assert isinstance(made["x"], kinds), (kind, count)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(
    "instruction", [b"a", b"e", b"s", b"u", b"b", b"\x90", b"R", b"\x81", b"Q"]
)
def test_instructions_on_values_of_other_kinds(tmp_path, kind, instruction):
    """SETITEM on what is no dict (CVE-2026-24747), APPEND to what is no list, BUILD of what has no state, and so on."""
    for first in (b"", b"("):
        for count in (1, 2, 3):
            program = VALUES[kind] + first + text("key") * count + instruction
            path = archive(tmp_path / "x.pt", pickled(program))
            refused = isinstance(outcome(path), ValueError)
            assert refused or kind in ("list", "dict", "set")
