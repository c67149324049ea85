"""A step that is damaged anywhere is met, and the step before it is used, with a warning that says what is wrong."""

import json
import random
import shutil
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.checkpoint import Checkpointer
from funcnet.checkpoint.runs.manifest import Manifest, _encoded
from tests.checkpoint.same import assert_same


def tree_of(step):
    return {
        "w": jnp.full((4, 3), step, jnp.float32),
        "n": [np.int8(step), step],
        "deep": {"t": (None, 0.5)},
    }


@pytest.fixture
def run(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, tree_of(step), metrics={"loss": 0.25}, metadata={"note": "a"})
    return tmp_path


def restored(directory):
    return Checkpointer(directory).restore(tree_of(0))


def assert_falls_back(directory, match):
    """Both ways to find a step use the one before, or say why they cannot."""
    with pytest.warns(UserWarning, match=f"(?s)step 2 is not whole and is passed over: .*{match}"):
        tree, saved = restored(directory)
    assert saved.step == 1
    assert_same(tree, tree_of(1))


@pytest.mark.parametrize("name", ["checkpoint.json", "arrays-0-of-1.safetensors"])
def test_any_byte_that_changed_is_met(run, name, pytestconfig):
    path = run / "step-00000002" / name
    content = path.read_bytes()
    whole = pytestconfig.getoption("grid") == "full"
    places = range(len(content)) if whole else random.Random(name).sample(range(len(content)), 60)
    for place in [*places, 0, len(content) - 1]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert_falls_back(run, "checkpoint.json|arrays-0-of-1|CRC|whole|damaged")
    path.write_bytes(content)
    assert_same(restored(run)[0], tree_of(2))


@pytest.mark.parametrize("name", ["checkpoint.json", "arrays-0-of-1.safetensors"])
def test_files_that_are_cut_off_longer_or_gone(run, name):
    path = run / "step-00000002" / name
    content = path.read_bytes()
    for length in (0, 1, 8, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert_falls_back(run, name)
    path.write_bytes(content + b"\0")
    assert_falls_back(run, name)
    path.unlink()
    assert_falls_back(run, f"there is no {name} in it")


def test_random_damage_never_loads_as_something_else(run, pytestconfig):
    draw = random.Random(0)
    step = run / "step-00000002"
    contents = {path: path.read_bytes() for path in step.iterdir()}
    for _ in range(2000 if pytestconfig.getoption("grid") == "full" else 60):
        path = draw.choice([*contents])
        damaged = bytearray(contents[path])
        begin = draw.randrange(len(damaged))
        end = min(len(damaged), begin + draw.randrange(1, 40))
        kind = draw.choice(["noise", "cut", "twice", "zeros"])
        noise = draw.randbytes(end - begin)
        new = {
            "noise": noise,
            "cut": b"",
            "twice": damaged[begin:end] * 2,
            "zeros": bytes(end - begin),
        }
        damaged[begin:end] = new[kind]
        path.write_bytes(damaged)
        if bytes(damaged) == contents[path]:
            continue
        assert_falls_back(run, "")
        path.write_bytes(contents[path])


def test_files_of_two_steps_are_not_mixed(run):
    shutil.copy(run / "step-00000001" / "arrays-0-of-1.safetensors", run / "step-00000002")
    assert_falls_back(run, r"the header of arrays-0-of-1\.safetensors is not what was saved")


def test_a_folder_of_another_name_and_of_others(run):
    shutil.rmtree(run / "step-00000002")
    shutil.copytree(run / "step-00000001", run / "step-00000002")
    assert_falls_back(run, "it was saved as step 1")
    shutil.rmtree(run / "step-00000002")
    (run / "step-00000002").mkdir()
    assert_falls_back(run, "there is no checkpoint.json")
    (run / "step-00000002" / "checkpoint.json").write_text('{"crc32": 1}')
    assert_falls_back(run, r"damaged \(CRC-32\), or not of funcnet")


def test_no_step_is_whole(run):
    for step in (1, 2):
        (run / f"step-0000000{step}" / "checkpoint.json").write_bytes(b"")
    checkpointer = Checkpointer(run)
    for find in (checkpointer.latest, checkpointer.restore):
        with pytest.warns(UserWarning, match="is not whole") as warned:
            assert find() is None
        assert len(warned) == 2
    with pytest.raises(ValueError, match="damaged"):
        checkpointer.restore(step=2)


def test_damaged_steps_are_neither_counted_nor_removed(run):
    (run / "step-00000002" / "checkpoint.json").write_bytes(b"")
    with Checkpointer(run, keep=1) as checkpointer:
        checkpointer.save(3, tree_of(3))
        assert checkpointer.steps() == [2, 3]
        shutil.rmtree(run / "step-00000003")
        checkpointer.save(1, tree_of(1))
        assert checkpointer.steps() == [1, 2]


def test_only_what_is_read_is_checked(run):
    path = run / "step-00000002" / "arrays-0-of-1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # n.0, a byte
    path.write_bytes(content)
    saved = Checkpointer(run).latest()
    assert saved.step == 2
    assert_same(saved.load(select="w"), {"w": tree_of(2)["w"]})
    with pytest.raises(ValueError, match=r"n\.0 is damaged: .*CRC-32"):
        saved.load()


# ---- descriptions whose checksum is right, and that lie


def forged(run, **changes):
    """Write a step's description anew, checksum and all."""
    step = run / "step-00000002"
    entries = json.loads((step / "checkpoint.json").read_text())
    del entries["crc32"]
    (step / "checkpoint.json").write_bytes(_encoded(entries | changes))


ARRAY = {"array": "w", "kind": "jax"}
LIES = {
    "another version": ({"version": 2}, "newer funcnet"),
    "an entry more": ({"more": 1}, "not of funcnet"),
    "step of text": ({"step": "2"}, "not of funcnet"),
    "metrics in a list": ({"metrics": []}, "not of funcnet"),
    "a path": ({"files": {"../step-00000001/arrays-0-of-1.safetensors": {}}}, "no data file"),
    "no files": ({"files": {}}, "no array"),
    "a file that is not there": ({"files": {"arrays-7-of-9.safetensors": {"bytes": 1}}}, "no arrays-7"),
    "an array that is not there": ({"tree": {"array": "x", "kind": "jax"}}, "no array x"),
    "a kind that is none": ({"tree": {**ARRAY, "kind": "pickle"}}, "damaged"),
    "no kind": ({"tree": {"array": "w"}}, "without 'kind'"),
    "a dtype that is none": ({"tree": {**ARRAY, "dtype": "system"}}, "'system' is not known"),
    "a dtype of another size": ({"tree": {**ARRAY, "dtype": "complex128"}}, "does not hold"),
    "no key": ({"tree": {**ARRAY, "kind": "key", "impl": "threefry2x32"}}, "does not hold"),
    "no such key": ({"tree": {**ARRAY, "kind": "key", "impl": "os.system"}}, "os.system"),
    "a tree of text": ({"tree": {"dict": "abc"}}, ""),
    "pairs of three": ({"tree": {"dict": [[1, 2, 3]]}}, ""),
    "a list as key": ({"tree": {"dict": [[[1], 2]]}}, ""),
    "a value that is none": ({"tree": {"bytes": "§"}}, ""),
    "floats in text": ({"tree": {"float": "1e5"}}, "no value"),
    "nothing": ({"tree": {}}, "no value"),
    "pieces that leave a hole": (
        {"pieces": {"w": {"shape": [8, 3], "pieces": [["arrays-0-of-1.safetensors", "w", [0, 0]]]}}},
        "its pieces do not make",
    ),
    "pieces outside": (
        {"pieces": {"w": {"shape": [4, 3], "pieces": [["arrays-0-of-1.safetensors", "w", [1, 0]]]}}},
        "its pieces do not make",
    ),
    "pieces of nothing": ({"pieces": {"w": {"shape": [0], "pieces": []}}}, "its pieces do not make"),
    "pieces elsewhere": ({"pieces": {"w": {"shape": [4], "pieces": [["x", "w", [0]]]}}}, "damaged"),
    "a tree of one number": ({"tree": {"dict": 1}}, "cannot be read"),
    "pieces in a list": ({"pieces": {"w": [1]}}, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_descriptions_that_lie_are_refused(run, lie):
    changes, match = LIES[lie]
    forged(run, **changes)
    assert_falls_back(run, match)


def test_a_description_nested_too_deeply_is_refused(run):
    step = run / "step-00000002"
    text = "[" * 100_000
    (step / "checkpoint.json").write_text(text)
    assert_falls_back(run, "damaged")
    lines = f'"version": 1,\n"tree": {"[" * 90_000}{"]" * 90_000}'
    crc = zlib.crc32(lines.encode())
    (step / "checkpoint.json").write_text(f'{{\n{lines},\n"crc32": "{crc:08x}"\n}}\n')
    assert_falls_back(run, "")


def test_the_description_says_what_wrote_it(run):
    manifest = Manifest.read(run / "step-00000002")
    assert manifest.versions.keys() == {"funcnet", "jax", "numpy"}
    assert json.loads((run / "step-00000002" / "checkpoint.json").read_text())["metadata"] == {
        "note": "a"
    }
