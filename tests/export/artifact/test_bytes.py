"""What lies in the file: the same bytes each time, nothing of the author's machine, weights that PyTorch opens."""

import hashlib
import io
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

import funcnet as fn
from funcnet import export, nn
from funcnet.export.artifact.archive import ArchiveWriter, find_members
from tests.export.artifact.damage import SOUND, manifest_of, members_of


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self):
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def __call__(self, x):
        with jax.named_scope("/home/author/secret"):
            return self.second(jnp.tanh(self.first(x)))


def saved(path):
    net = fn.functionalize(Tied())
    params, state = net.init(jax.random.key(0))
    return export.save(
        path,
        net,
        params,
        state,
        export.spec(("batch", 3)),
        differentiable=True,
        sizes=[{"batch": 1}],
    )


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tied") / "m.fnx")


def test_the_same_model_gives_the_same_bytes(tied, tmp_path):
    assert saved(tmp_path / "other_name.fnx").read_bytes() == tied.read_bytes()


@pytest.mark.parametrize("path", [None, SOUND], ids=["now", "fixture"])
def test_nothing_of_the_authors_machine_is_inside(path, tied):
    content = (path or tied).read_bytes()
    folders = {str(Path.home()), str(Path(__file__).parents[3]), sys.prefix, sys.base_prefix}
    here = {*folders, "secret", "site-packages"} - {"/"}
    assert not [word for word in sorted(here) if word.encode() in content]
    assert not re.search(rb"[\w/]+\.py\b", content)


def test_members_are_stored_with_one_date_and_weights_are_aligned(tied):
    with zipfile.ZipFile(tied) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.file_size == info.compress_size
    content = tied.read_bytes()
    weights = members_of(tied)["weights.safetensors"]
    begin = content.index(weights)
    assert begin % 64 == 0
    assert (8 + int.from_bytes(weights[:8], "little")) % 64 == 0
    manifest = manifest_of(members_of(tied))
    assert members_of(tied)["manifest.json"].isascii()
    assert manifest["files"]["weights.safetensors"]["sha256"] == hashlib.sha256(weights).hexdigest()


def test_weights_are_stored_once_under_their_dotted_names(tied):
    arrays = load_safetensors(members_of(tied)["weights.safetensors"])
    assert list(arrays) == ["first.weight"]
    np.testing.assert_array_equal(
        arrays["first.weight"], export.load(tied).params["first"]["weight"]
    )


def test_pytorch_opens_the_weights(tied, tmp_path):
    torch = pytest.importorskip("torch")
    load_model = pytest.importorskip("safetensors.torch").load_model

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 3, bias=False)
            self.second = torch.nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    (tmp_path / "w.safetensors").write_bytes(members_of(tied)["weights.safetensors"])
    net = Theirs()
    load_model(net, tmp_path / "w.safetensors")
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    got = export.load(tied)(x)
    # float32
    np.testing.assert_allclose(got, net(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_bfloat16_for_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    load = pytest.importorskip("safetensors.torch").load
    arrays = load(members_of(SOUND)["weights.safetensors"])
    assert arrays["blocks.0.table"].dtype == torch.bfloat16
    assert arrays["seen"].shape == ()


class Endless(io.RawIOBase):
    """A file that keeps its first and last bytes alone, so that one of gigabytes costs nothing."""

    def __init__(self):
        self.place = self.end = 0
        self.kept = {}

    def write(self, content):
        if len(content) < 2**16:
            self.kept[self.place] = bytes(content)
        self.place += len(content)
        self.end = max(self.end, self.place)
        return len(content)

    def tell(self):
        return self.place

    def seek(self, place, whence=0):
        self.place = place + (self.end if whence == 2 else 0)
        return self.place

    def seekable(self):
        return True

    def writable(self):
        return True


def test_weights_beyond_four_gigabytes_are_written_with_sizes_in_64_bits(monkeypatch):
    """No second copy of an array is made, and the place of its data is right."""
    monkeypatch.setattr(hashlib, "sha256", lambda: hashlib.blake2b(digest_size=1))
    monkeypatch.setattr("zipfile.crc32", lambda data, crc=0: 0)
    monkeypatch.setattr(hashlib, "blake2b", lambda **_: NoSum())
    size, chunk, file = 5 * 2**30, memoryview(bytes(2**26)), Endless()
    with ArchiveWriter(file) as archive:
        archive.add("programs/a.mlirbc", 3, [b"abc"])
        archive.add("weights.safetensors", size, (chunk for _ in range(size // 2**26)), 64)
        archive.add("manifest.json", 2, [b"{}"])
    head = next(v for v in file.kept.values() if v[:4] == b"PK\x03\x04" and b"weights" in v)
    begin = next(k for k, v in file.kept.items() if v == head) + len(head)
    assert begin % 64 == 0
    assert struct.pack("<HHQQ", 1, 16, size, size) in head
    assert any(b"PK\x06\x06" in v for v in file.kept.values())  # the directory's end in 64 bits


class NoSum:
    def update(self, content):
        pass

    def hexdigest(self):
        return ""


def test_sizes_in_64_bits_are_read(tmp_path):
    file = tmp_path / "m.zip"
    with (
        zipfile.ZipFile(file, "w") as archive,
        archive.open("manifest.json", "w", force_zip64=True) as member,
    ):
        member.write(b"{}")
    with file.open("rb") as opened:
        assert bytes(find_members(opened, memoryview(file.read_bytes()))["manifest.json"]) == b"{}"


def test_nothing_is_written_where_something_fails(tmp_path):
    def branches(params, state, x):
        return (x * 2 if x.shape[0] % 2 else x * 3), state

    path = tmp_path / "m.fnx"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="branch"):
        export.save(path, branches, {}, {}, export.spec(("batch", 3)))
    assert [each.name for each in tmp_path.iterdir()] == ["m.fnx"]
    assert path.read_bytes() == b"old"


def test_the_command_shows_what_is_inside():
    command = [sys.executable, "-m", "funcnet.export", "inspect"]
    done = subprocess.run([*command, str(SOUND)], capture_output=True, text=True, check=True)
    assert "takes ids: int32[batch]" in done.stdout
    assert (
        "programs/draw.gradient.cpu.half=32.mlirbc (cpu, half=32, runs on any platform)"
        in done.stdout
    )
    done = subprocess.run([*command, __file__], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not begin as a zip does" in done.stderr
    assert "Traceback" not in done.stderr
