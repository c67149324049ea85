"""Files for torch.load: what PyTorch reads of them, and what funcnet does."""

import tracemalloc
import zipfile
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.checkpoint.files import pytorch_writer
from funcnet.checkpoint.files.pytorch_file import PytorchFile, read_pytorch
from funcnet.checkpoint.files.pytorch_writer import write_pytorch
from tests.checkpoint.make_pytorch_files import DTYPES, VALUES

SHAPES = [(6,), (2, 3), (1, 6, 1), (3, 1, 2), (), (0,), (2, 0, 3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pt"


def array_of(name, shape):
    values = np.array(VALUES).astype(np.dtype(name))
    return values[: int(np.prod(shape))].reshape(shape)


TREE = {
    f"{name}.{index}": array_of(name, shape)
    for name in DTYPES
    for index, shape in enumerate(SHAPES)
}

ARRANGED = {
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "stepped": np.arange(10)[::-3],
    "broadcast": np.broadcast_to(np.float32(7), (2, 3)),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "number": np.float32(3),
    "jax": jnp.arange(4.0),
    "jax bfloat16": jnp.ones((2, 2), jnp.bfloat16),
    "sharded": jax.device_put(
        jnp.arange(8), jax.NamedSharding(jax.make_mesh((4,), ("x",)), jax.P("x"))
    ),
}

PLAIN = {
    "numbers": [0, 255, 65536, -1, -(2**31), 2**31, 2**63, -(2**200), 1.5, float("-inf")],
    "others": (None, True, False, "text with ü", b"bytes \xff", b"", ()),
    "dicts": {"empty": {}, 3: [], None: 0, 2.5: "float"},
}


def equal(array, expected):
    expected = np.asarray(expected)
    assert array.dtype == expected.dtype.newbyteorder("=")
    assert array.shape == expected.shape
    assert array.tobytes() == np.ascontiguousarray(expected, array.dtype).tobytes()


def test_what_is_written_is_read_again(path):
    assert write_pytorch(path, {"arrays": TREE, "arranged": ARRANGED, "plain": PLAIN}) == path
    read = read_pytorch(path)
    assert read["plain"] == PLAIN
    for name, expected in (TREE | ARRANGED).items():
        equal((read["arrays"] | read["arranged"])[name], expected)
    with PytorchFile(path) as file:
        for name, expected in TREE.items():
            equal(file[f"arrays.{name}"].read(), expected)


@pytest.mark.parametrize("tree", [np.ones(2), [np.ones(2), 3], {"a": 1}, {}, 3, None, "text"])
def test_the_top_may_be_anything(path, tree):
    write_pytorch(path, tree)
    np.testing.assert_equal(read_pytorch(path), tree)


def test_dtypes_are_values_too(path):
    dtypes = [np.dtype(name) for name in DTYPES]
    write_pytorch(path, dtypes)
    assert read_pytorch(path) == dtypes


def test_tied_arrays_are_written_once(path):
    tied = np.zeros(10_000)
    write_pytorch(path, {"a": tied, "b": [tied], "c": tied.copy()})
    assert 160_000 < path.stat().st_size < 165_000
    read = read_pytorch(path)
    assert read["a"] is read["b"][0] is not read["c"]


def test_arrays_begin_at_multiples_of_64(path):
    write_pytorch(path, TREE)
    with PytorchFile(path) as file:
        assert {stored.begin % 64 for stored in file.values()} == {0}


def test_the_archive_is_whole_for_other_readers(path):
    write_pytorch(path, TREE)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None


def test_the_same_tree_gives_the_same_file(path):
    first = write_pytorch(path, {"a": ARRANGED, "p": PLAIN}).read_bytes()
    assert write_pytorch(path, {"a": ARRANGED, "p": PLAIN}).read_bytes() == first


def test_a_failed_write_leaves_the_old_file(path):
    write_pytorch(path, {"a": 1})
    with pytest.raises(TypeError, match=r"'b\.0' is a object, which") as caught:
        write_pytorch(path, {"a": 2, "b": [object()]})
    assert "they hold arrays" in str(caught.value)
    assert read_pytorch(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


MISTAKES = {
    "a random key": (jax.random.key(0), "jax.random.key_data"),
    "text": (np.array(["a"]), "dtype <U1"),
    "objects": (np.array([None]), "dtype object"),
    "dates": (np.array(["2024-01-01"], "datetime64[D]"), "dtype datetime64"),
    "int4": (jnp.ones(2, jnp.int4), "dtype int4"),
    "longdouble": (np.ones(2, np.longdouble), "which PyTorch lacks"),
    "a dtype": (np.dtype("U1"), "is a StrDType"),
    "a class": (np.float32, "is a type"),
    "a set": ({1}, "is a set"),
    "a huge number": (2**3000, "255 at most"),
    "a key": ({("a",): 1}, r"has the key \('a',\)"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_are_named(path, kind):
    value, message = MISTAKES[kind]
    with pytest.raises(TypeError, match=rf"a\.0.*{message}"):
        write_pytorch(path, {"a": [value]})
    assert not path.exists()


def test_a_tree_that_contains_itself(path):
    tree = {}
    tree["a"] = [tree]
    with pytest.raises(ValueError, match="within itself"):
        write_pytorch(path, tree)


def test_one_array_at_a_time(path):
    """Arrays that have to be copied into C order are, one after the other."""
    tree = [np.asfortranarray(np.ones((1024, 1024))) for _ in range(6)]
    tracemalloc.start()
    try:
        write_pytorch(path, tree)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * tree[0].nbytes
    finally:
        tracemalloc.stop()


def test_sizes_of_64_bits(path, monkeypatch):
    """Entries beyond 2 GiB have a longer header; here, all have."""
    monkeypatch.setattr(pytorch_writer, "_WIDE", 0)
    write_pytorch(path, TREE)
    with PytorchFile(path) as file:
        assert {stored.begin % 64 for stored in file.values()} == {0}
    for name, array in read_pytorch(path).items():
        equal(array, TREE[name])


# ---- what PyTorch makes of them ------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"mmap": True}], ids=["read", "mapped"])
@pytest.mark.parametrize("wide", [0, 2**31 - 1], ids=["64 bits", "32 bits"])
def test_pytorch_reads_arrays(path, settings, wide, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(pytorch_writer, "_WIDE", wide)
    tree = TREE | ARRANGED
    write_pytorch(path, tree)
    loaded = torch.load(path, weights_only=True, **settings)
    assert type(loaded) is OrderedDict
    assert list(loaded) == list(tree)
    for name, tensor in loaded.items():
        expected = np.asarray(tree[name])
        assert str(tensor.dtype) == f"torch.{expected.dtype.newbyteorder('=')}"
        assert tuple(tensor.shape) == expected.shape
        assert tensor.is_contiguous()
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        assert raw == np.ascontiguousarray(expected, expected.dtype.newbyteorder("=")).tobytes()


def test_pytorch_reads_plain_values_and_ties(path):
    torch = pytest.importorskip("torch")
    tied = np.zeros(3, np.float32)
    write_pytorch(path, {"plain": PLAIN, "dtype": np.dtype("float32"), "ties": [tied, tied]})
    loaded = torch.load(path, weights_only=True)
    assert loaded["plain"] == PLAIN
    assert loaded["dtype"] is torch.float32
    one, other = loaded["ties"]
    one[0] = 5
    assert other.tolist() == [5, 0, 0]


def test_a_module_loads_a_state_dict(path):
    torch = pytest.importorskip("torch")
    module = torch.nn.BatchNorm1d(3)
    state = {name: value.numpy() + 1 for name, value in module.state_dict().items()}
    write_pytorch(path, state)
    module.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert module.weight.tolist() == [2, 2, 2]
    assert module.num_batches_tracked == 1


def test_what_pytorch_wrote_comes_back_to_it(path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    write_pytorch(path, read_pytorch(path))
    loaded = torch.load(path, weights_only=True)
    other = torch.nn.Linear(2, 3)
    other.load_state_dict(loaded["model"])
    torch.optim.Adam(other.parameters()).load_state_dict(loaded["optimizer"])
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(
        loaded["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )
