"""Sharded files and their indexes: Hugging Face's, ours, damaged ones, and those made to do harm."""

import json
import random

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from funcnet import checkpoint
from tests.checkpoint.damage import attempt, damaged_copy

INDEX = "model.safetensors.index.json"


def arrays_of(count, size=10):
    return {f"layers.{i}.weight": np.full(size, i, np.float32) for i in range(count)}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def theirs(tmp_path):
    """Two shards and an index, as Hugging Face's tools write them."""
    arrays = arrays_of(4)
    places = {}
    for number, names in enumerate([list(arrays)[:3], list(arrays)[3:]], 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        safetensors.numpy.save_file(
            {name: arrays[name] for name in names}, tmp_path / file, {"format": "pt"}
        )
        places |= dict.fromkeys(names, file)
    write(tmp_path, {"metadata": {"total_size": 160}, "weight_map": places})
    return tmp_path, arrays, places


def write(folder, index):
    (folder / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    return folder / INDEX


# ---- reading -------------------------------------------------------------------------------------


def test_an_index_of_theirs_is_one_mapping(theirs):
    folder, arrays, _ = theirs
    for path in (folder / INDEX, folder, str(folder)):
        stored = checkpoint.open_arrays(path)
        assert len(stored) == 4
        assert "layers.0.weight" in stored
        assert "x" not in stored
        same(checkpoint.load_arrays(path), arrays)
        assert checkpoint.load_arrays(path, select="*.3.*").keys() == {"layers.3.weight"}
        assert checkpoint.load_metadata(path) == {"format": "pt", "total_size": "160"}


def test_shards_of_pytorch(tmp_path):
    arrays = arrays_of(2)
    for number, name in enumerate(arrays, 1):
        checkpoint.save_arrays(
            tmp_path / f"pytorch_model-{number:05d}-of-00002.bin", {name: arrays[name]}
        )
    places = {name: f"pytorch_model-{i:05d}-of-00002.bin" for i, name in enumerate(arrays, 1)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    same(checkpoint.load_arrays(tmp_path), arrays)


def test_the_cache_of_hugging_face_is_links(theirs, tmp_path_factory):
    folder, arrays, _ = theirs
    snapshot = tmp_path_factory.mktemp("snapshot")
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    same(checkpoint.load_arrays(snapshot), arrays)


def test_arrays_that_the_index_does_not_list_are_not_lost(theirs):
    folder, arrays, places = theirs
    write(folder, {"weight_map": {name: file for name, file in places.items() if "1" not in name}})
    same(checkpoint.load_arrays(folder), arrays)


def test_all_that_is_missing_is_listed(theirs):
    folder, _, places = theirs
    path = write(folder, {"weight_map": places | {"x": "a.safetensors", "y": "b.safetensors"}})
    with pytest.raises(
        ValueError, match=r"index\.json is not whole.*a\.safetensors, b\.safetensors"
    ):
        checkpoint.open_arrays(path)
    write(folder, {"weight_map": places | dict.fromkeys("xy", places["layers.0.weight"])})
    with pytest.raises(ValueError, match=r"missing: x in model-00001.*, y in model-00001"):
        checkpoint.open_arrays(path)


def test_an_array_in_two_shards(theirs):
    folder, arrays, places = theirs
    for file in set(places.values()):
        old = safetensors.numpy.load_file(folder / file)
        safetensors.numpy.save_file(old | {"twice": np.ones(1)}, folder / file)
    with pytest.raises(ValueError, match="not listed, and in several: twice"):
        checkpoint.open_arrays(folder)
    write(folder, {"weight_map": places | {"twice": places["layers.0.weight"]}})
    same(checkpoint.load_arrays(folder), arrays | {"twice": np.ones(1)})


OUTSIDE = [
    "../a",
    "a/../../b",
    "/etc/passwd",
    "",
    ".",
    "..",
    "a//b",
    "C:\\a",
    "..\\a",
    "a\0b",
    "//host/a",
    "a/",
]


@pytest.mark.parametrize("file", OUTSIDE, ids=repr)
def test_files_outside_of_the_folder_are_refused(theirs, file):
    folder, _, places = theirs
    path = write(folder, {"weight_map": places | {"x": file}})
    with pytest.raises(ValueError, match=r"lies outside of its folder|files are missing"):
        checkpoint.open_arrays(path)


def test_a_file_that_is_there_but_outside_is_refused(theirs):
    folder, arrays, _ = theirs
    inner = folder / "inner"
    inner.mkdir()
    file = next(folder.glob("*.safetensors"))
    for name in (f"../{file.name}", str(file)):
        write(inner, {"weight_map": {"layers.0.weight": name}})
        with pytest.raises(ValueError, match="outside of its folder"):
            checkpoint.open_arrays(inner)
    write(folder, {"weight_map": {}})
    (inner / file.name).write_bytes(file.read_bytes())
    write(folder, {"weight_map": {"layers.0.weight": f"inner/{file.name}"}})
    np.testing.assert_array_equal(
        checkpoint.load_arrays(folder)["layers.0.weight"], arrays["layers.0.weight"]
    )


LIES = {
    "no map": {"metadata": {}},
    "a list": "[]",
    "map of lists": {"weight_map": {"a": ["b"]}},
    "map is a list": {"weight_map": ["a"]},
    "metadata is a list": {"weight_map": {}, "metadata": [1]},
    "nested": '{"weight_map": {"a": ' + '{"a":' * 5000 + "1" + "}" * 5002,
    "deep": '{"weight_map": ' + "[" * 100_000,
    "twice": '{"weight_map": {"a": "b", "a": "c"}}',
    "nan": '{"weight_map": {}, "metadata": {"total_size": NaN}}',
    "huge": '{"weight_map": {}, "metadata": {"total_size": ' + "9" * 5000 + "}}",
    "half a character": '{"weight_map": {"\\ud800": "a"}}',
    "half of a file's name": '{"weight_map": {"a": "\\udfff"}}',
    "itself": {"weight_map": {"a": INDEX}},
    "cut off": '{"weight_map": {"a": ',
}


@pytest.mark.parametrize("index", LIES.values(), ids=LIES.keys())
def test_indexes_that_lie(tmp_path, index):
    path = write(tmp_path, index)
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json|is JSON text|is no"):
        checkpoint.load_arrays(path)


def test_an_index_that_is_no_text(tmp_path):
    (tmp_path / INDEX).write_bytes(b'{"weight_map": {"\xff": "a"}}')
    with pytest.raises(ValueError, match="is no index of shards"):
        checkpoint.open_arrays(tmp_path)


def test_a_hundred_thousand_names(tmp_path):
    arrays = {f"x{i}": np.zeros(0, np.int8) for i in range(100_000)}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    path = write(tmp_path, {"weight_map": dict.fromkeys(arrays, "a.safetensors")})
    assert len(checkpoint.open_arrays(path)) == 100_000
    write(tmp_path, {"weight_map": {name: f"{name}.safetensors" for name in arrays}})
    with pytest.raises(ValueError, match=r"files are missing: x0\.safetensors, x1"):
        checkpoint.open_arrays(path)


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "shards"),
    [(40, 7), (80, 4), (100, 4), ("1KB", 0), (280, 0), (279, 2), (1, 7), ("120 b", None)],
)
def test_shards_are_filled_in_order(tmp_path, most, shards):
    arrays = arrays_of(7)
    path = tmp_path / "model.safetensors"
    if shards is None:
        with pytest.raises(ValueError, match="is no size"):
            checkpoint.save_arrays(path, arrays, shard_bytes=most)
        return
    saved = checkpoint.save_arrays(path, arrays, {"epoch": "3"}, shard_bytes=most)
    files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    assert saved.name == (INDEX if shards else path.name)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*files, saved.name])
    for place in (saved, tmp_path):
        same(checkpoint.load_arrays(place), arrays)
        assert checkpoint.load_metadata(place).items() >= {"epoch": "3", "format": "pt"}.items()
    if shards:  # other readers need no more than this
        index = json.loads(saved.read_text())
        assert index["metadata"]["total_size"] == 280
        assert list(index["weight_map"]) == list(arrays)
        read = {}
        for file in files:
            read |= safetensors.numpy.load_file(tmp_path / file)
        same(read, arrays)


@pytest.mark.parametrize("most", [0, -1, "5", "GB", "5 XB", 1.5, True, "0GB"])
def test_sizes_that_are_none(tmp_path, most):
    with pytest.raises(ValueError, match="is no size"):
        checkpoint.save_arrays(tmp_path / "a.safetensors", arrays_of(2), shard_bytes=most)


def test_shards_need_a_name_to_number(tmp_path):
    for name in ("a.pt", "a"):
        with pytest.raises(ValueError, match="cannot be divided"):
            checkpoint.save_arrays(tmp_path / name, arrays_of(2), shard_bytes="1GB")


def test_one_saving_takes_the_place_of_another(tmp_path):
    path = tmp_path / "model.safetensors"
    other = tmp_path / "model-00009-of-00009.safetensors"
    other.write_bytes(b"of somebody else")
    for count, most in [(6, 40), (3, 40), (3, None), (4, 40), (2, 1000)]:
        saved = checkpoint.save_arrays(path, arrays_of(count), shard_bytes=most)
        same(checkpoint.load_arrays(tmp_path), arrays_of(count))
        shards = count if most == 40 else 0
        assert len(list(tmp_path.iterdir())) == 2 + shards, [*tmp_path.iterdir()]
        assert saved.exists()
    assert other.exists()


def test_shards_of_two_savings_are_not_mixed(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save_arrays(path, arrays_of(3), shard_bytes=40)
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    checkpoint.save_arrays(path, {k: v + 1 for k, v in arrays_of(3).items()}, shard_bytes=40)
    new = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for mixed in range(1, 2 ** len(old) - 1):
        for number, name in enumerate(sorted(old)):
            (tmp_path / name).write_bytes((old, new)[mixed >> number & 1][name])
        with pytest.raises(ValueError, match="another saving"):
            checkpoint.open_arrays(tmp_path)


def test_every_flipped_bit_of_an_index_is_refused(tmp_path):
    index = checkpoint.save_arrays(
        tmp_path / "a.safetensors", arrays_of(2, 1), {"e": "3"}, shard_bytes=4
    )
    whole = index.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        index.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.safetensors\.index\.json"):
            checkpoint.load_arrays(index)


def test_shards_are_cast(tmp_path):
    path = checkpoint.save_arrays(tmp_path / "a.safetensors", arrays_of(3), shard_bytes=40)
    read = checkpoint.load_arrays(path, dtype=jnp.bfloat16)
    assert {array.dtype for array in read.values()} == {np.dtype(jnp.bfloat16)}


def test_random_damage(tmp_path, pytestconfig):
    """``--grid=full``: 10⁵ of them, and how long the slowest took."""
    rng = random.Random(7)
    index = checkpoint.save_arrays(
        tmp_path / "hostile.safetensors", arrays_of(3), {"e": "3"}, shard_bytes=80
    )
    theirs = json.loads(index.read_text())
    del theirs["metadata"]["funcnet.crc32"]
    shards = list(tmp_path.glob("*-of-*"))
    wholes = [index.read_bytes(), json.dumps(theirs).encode()]
    size = sum(file.stat().st_size for file in shards)
    attempt(lambda: checkpoint.load_arrays(index), 10**6, "")  # what is imported and interned once
    longest = 0.0
    for number in range(100_000 if pytestconfig.getoption("grid") == "full" else 500):
        index.write_bytes(damaged_copy(wholes[number % 2], rng))
        seconds = attempt(
            lambda: checkpoint.load_arrays(index), size + index.stat().st_size, "hostile"
        )
        longest = max(longest, seconds)
    print(f"the slowest took {longest:.3f} s")
