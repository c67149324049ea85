"""What a caller may do wrong: a code, and a sentence that says what was expected and what came."""

import ctypes
import zipfile
from functools import cache

import numpy as np
import pytest

from funcnet.export import entry, spec
from tests.export.native.models import CASES, numbers
from tests.export.native.runner import (
    PLUGINS,
    Array,
    Library,
    Refused,
    described,
    plugin_path,
)
from tests.export.native.writing import pack, unpack, write


@cache
def library():
    return Library()


@cache
def device():
    return library().device(plugin_path("lammps-jax-pjrt-cpu"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = CASES["functions_with_a_cache"]()
    file = tmp_path_factory.mktemp("mistakes") / "cache.fnx"
    metadata = {"author": "a person", "licence": "CC BY"}
    sizes = [{"batch": 1}, {"batch": 4}]
    return write(file, made.entries, made.params, made.state, sizes, metadata=metadata)


@pytest.fixture
def model(path):
    made = device().open(path)
    yield made
    made.close()


TOKENS = np.zeros((4, 3), np.int32)

CALLS = {
    "function": (("decode", TOKENS), "NAME", "no function 'decode'; it has: prefill, step"),
    "no name": ((None, TOKENS), "NAME", "it has: prefill, step"),
    "too few": (("prefill",), "ARGUMENT", "'prefill' takes 1 inputs; got 0"),
    "too many": (("prefill", TOKENS, TOKENS), "ARGUMENT", "takes 1 inputs; got 2"),
    "dtype": (
        ("prefill", TOKENS.astype("f4")),
        "DTYPE",
        "input 'tokens' of 'prefill' is I32[batch, 3]; got F32[4, 3]",
    ),
    "rank": (("prefill", TOKENS[0].copy()), "SHAPE", "is I32[batch, 3]; got I32[3]"),
    "length": (("prefill", TOKENS.T.copy()), "SHAPE", "is I32[batch, 3]; got I32[3, 4]"),
    "size": (
        ("prefill", TOKENS[:2].copy()),
        "SHAPE",
        "was not exported for tokens I32[2, 3]; there is: batch=1 batch=4",
    ),
    "sizes that differ": (
        ("step", TOKENS[:, 0].copy(), numbers(1, 6, 8), np.array(0, "i4")),
        "SHAPE",
        "was not exported for token I32[4], cache F32[1, 6, 8], place I32[]",
    ),
}


@pytest.mark.parametrize("mistake", CALLS)
def test_a_call_that_does_not_fit(mistake, model):
    arguments, code, sentence = CALLS[mistake]
    if mistake in ("function", "no name"):
        arguments = (arguments[0],)
    with pytest.raises(Refused) as refused:
        model.call(*arguments)
    assert refused.value.code == code
    assert sentence in refused.value.sentence


def test_tensors_are_held_to_the_same(model):
    tensor = device().tensor(TOKENS[:2])
    with pytest.raises(Refused, match="SHAPE: 'prefill' was not exported for tokens I32"):
        model.run("prefill", tensor)
    library().c.fn_tensor_free(tensor)


BAD_FILES = {
    "none": (None, "FILE", "No such file"),
    "empty": (b"", "FILE", "empty"),
    "text": (b"weights\n" * 100, "FORMAT", "no list of members at its end"),
    "zip": ("zip", "FORMAT", "lacks its member 'manifest.json'"),
    "other format": ({"format": "other"}, "FORMAT", "a zip file, but no artifact of funcnet"),
    "newer": ({"version": 2}, "FORMAT", "it is of version 2; this program reads version 1"),
    "compressed": ("deflated", "FORMAT", "a member is compressed"),
    "other platform": (
        {"platform": "tpu"},
        "SHAPE",
        "no program of fixed sizes for the platform 'cpu'",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_none(kind, path, tmp_path):
    content, code, sentence = BAD_FILES[kind]
    file = tmp_path / "some.fnx"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, str):
        method = zipfile.ZIP_DEFLATED if content == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("weights.safetensors", "w" * 100)
    elif content is not None:
        manifest, members = unpack(path)
        if "platform" in content:
            for function in manifest["functions"].values():
                for program in function["programs"]:
                    program |= {"platform": content["platform"], "portable": False}
        pack(file, {**manifest, **content}, members)
    with pytest.raises(Refused) as refused:
        device().open(file).call("prefill", TOKENS)
    assert refused.value.code == code
    assert sentence in refused.value.sentence
    if code != "SHAPE":
        assert str(file) in refused.value.sentence


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(Refused, match=r"FILE: .*a folder"):
        device().open(tmp_path)


BAD_PLUGINS = {
    "missing": ("/nowhere/plugin.so", None, "cannot be loaded: /nowhere/plugin.so"),
    "no library": (__file__, None, "cannot be loaded"),
    "no plugin": ("libm.so.6", None, "no PJRT plugin: it has no GetPjrtApi"),
    "none": (None, None, "name its file, or set FUNCNET_PJRT_PLUGIN"),
}


@pytest.mark.parametrize("kind", BAD_PLUGINS)
def test_a_plugin_that_is_none(kind, monkeypatch):
    monkeypatch.delenv("FUNCNET_PJRT_PLUGIN", raising=False)
    plugin, options, sentence = BAD_PLUGINS[kind]
    with pytest.raises(Refused) as refused:
        library().device(plugin, options)
    assert refused.value.code == "PLUGIN"
    assert sentence in refused.value.sentence


@pytest.mark.parametrize("options", ["preallocate", "=1", "a=[1,2]", "a=[x]"])
def test_options_that_are_none(options):
    with pytest.raises(Refused, match=r"ARGUMENT: .*written"):
        library().device(plugin_path("lammps-jax-pjrt-cpu"), options)


def test_options_reach_the_plugin():
    plugin = plugin_path("lammps-jax-pjrt-cpu")
    library().device(plugin, "cpu_device_count=2").close()
    with pytest.raises(
        Refused, match=r"PLUGIN: opening the device: the plugin says: .*no_such_thing"
    ):
        library().device(plugin, "no_such_thing=2.5")


def test_the_environment_names_a_plugin(monkeypatch, path):
    monkeypatch.setenv("FUNCNET_PJRT_PLUGIN", str(plugin_path("lammps-jax-pjrt-cpu")))
    own = library().device(None)
    model = own.open(path)
    own.close()  # what was opened on it keeps it
    assert model.call("prefill", TOKENS)[1].shape == (4, 11)
    model.close()


def test_metadata_and_arrays_that_do_not_exist(model):
    c = library().c
    assert c.fn_model_metadata(model.handle, b"author") == b"a person"
    assert c.fn_model_metadata(model.handle, b"date") is None
    assert c.fn_model_name(model.handle) == b"model"
    with pytest.raises(Refused, match="ARGUMENT: there is no number 3: there are 3"):
        model.spec("step", 3)
    assert (c.fn_dtype_bytes(99), c.fn_dtype_name(-1)) == (0, b"INVALID")


def call(model, inputs, outputs, room=None):
    """fn_call itself, with arrays as they are."""
    count = len(outputs) if room is None else room
    return library().check(
        library().c.fn_call(
            model.handle,
            b"prefill",
            inputs,
            ctypes.c_size_t(1),
            outputs,
            ctypes.c_size_t(count),
        )
    )


def test_memory_of_the_caller(model):
    """It is filled in; what is too small is refused before anything runs, and is as it was."""
    inputs = (Array * 1)(described(TOKENS))
    cache, logits = np.full((4, 6, 8), 7, "f4"), np.full((4, 11), 7, "f4")
    outputs = (Array * 2)(described(cache), described(logits))
    outputs[1].bytes -= 4
    with pytest.raises(
        Refused, match=r"ARGUMENT: an output is F32\[4, 11\], 176 bytes; there is room for 172"
    ):
        call(model, inputs, outputs)
    assert (cache == 7).all()
    assert (logits == 7).all()
    outputs[1].bytes += 4
    call(model, inputs, outputs)
    wanted = model.call("prefill", TOKENS)
    np.testing.assert_array_equal(cache, wanted[0])
    np.testing.assert_array_equal(logits, wanted[1])
    with pytest.raises(Refused, match="'prefill' gives 2 outputs; there is room for 1"):
        call(model, inputs, outputs, room=1)


WRONG_ARRAYS = {
    "bytes": ({"bytes": 44}, "ARGUMENT", "I32[4, 3] has 48 bytes; its data say 44"),
    "data": ({"data": None}, "ARGUMENT", "NULL"),
    "dtype": ({"dtype": 77}, "DTYPE", "dtype is 77"),
    "rank": ({"rank": 33}, "SHAPE", "rank is 33"),
    "negative rank": ({"rank": -1}, "SHAPE", "rank is -1"),
}


@pytest.mark.parametrize("kind", WRONG_ARRAYS)
def test_an_array_that_contradicts_itself(kind, model):
    changes, code, sentence = WRONG_ARRAYS[kind]
    inputs, outputs = (Array * 1)(described(TOKENS)), (Array * 2)()
    for name, value in changes.items():
        setattr(inputs[0], name, value)
    with pytest.raises(Refused) as refused:
        call(model, inputs, outputs)
    assert refused.value.code == code
    assert sentence in refused.value.sentence
    assert not outputs[0].data


def test_null_pointers_are_told(model):
    c = library().c
    for code in (
        c.fn_model_open(device().handle, b"a", None),
        c.fn_model_open(None, b"a", None),
        c.fn_call(None, None, None, ctypes.c_size_t(0), None, ctypes.c_size_t(0)),
        c.fn_call(model.handle, b"prefill", None, ctypes.c_size_t(1), None, ctypes.c_size_t(2)),
        c.fn_run(model.handle, b"prefill", None, ctypes.c_size_t(1), None, ctypes.c_size_t(2)),
        c.fn_tensor_read(None, None),
    ):
        assert code == 1
        assert b"is NULL" in c.fn_error()
    assert (
        c.fn_device_platform(None) is c.fn_model_name(None) is c.fn_function_name(None, 0) is None
    )
    assert c.fn_function_count(None) == 0
    c.fn_array_free(None)
    c.fn_tensor_free(None)
    c.fn_model_close(None)
    c.fn_device_close(None)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_manifest_whose_outputs_are_not_the_programs(plugin, path, tmp_path):
    """The plugin would write as many outputs as the program has."""
    manifest, members = unpack(path)
    del manifest["functions"]["prefill"]["outputs"][1]
    pack(tmp_path / "a.fnx", manifest, members)
    model = library().device(plugin_path(plugin)).open(tmp_path / "a.fnx")
    with pytest.raises(Refused, match=r"FORMAT: a program of 'prefill' gives other outputs"):
        model.call("prefill", TOKENS)
    model.close()


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("shape", [["batch", 5], ["batch"], ["batch", 3, 2]])
def test_a_manifest_whose_inputs_are_not_the_programs(plugin, shape, path, tmp_path):
    """The plugin compares sizes: nothing is read beyond an input's end."""
    manifest, members = unpack(path)
    manifest["functions"]["prefill"]["inputs"][0]["shape"] = shape
    pack(tmp_path / "a.fnx", manifest, members)
    model = library().device(plugin_path(plugin)).open(tmp_path / "a.fnx")
    with pytest.raises(Refused, match="EXECUTE: running 'prefill': the plugin says"):
        model.call("prefill", np.zeros([4, *shape[1:]], np.int32))
    model.close()


def test_a_function_of_one_may_stay_without_name(tmp_path):
    file = tmp_path / "one.fnx"
    write(file, {"run": entry(lambda p, s, x: (x + 1, s), spec((2,)))}, {}, {})
    model = device().open(file)
    np.testing.assert_array_equal(model.call(None, np.zeros(2, "f4"))[0], np.ones(2))
    model.close()
