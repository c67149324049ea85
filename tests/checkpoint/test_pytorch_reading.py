"""What torch.save writes, read without it: dtypes by layouts by forms of the file, bit for bit."""

import collections
import warnings

import numpy as np
import pytest

from funcnet.checkpoint.files.pytorch_file import PytorchFile, load_pytorch, looks_like_pytorch

torch = pytest.importorskip("torch")

FLOATS = ["float64", "float32", "float16", "bfloat16"]
FLOATS += [f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")]
WHOLE = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES = [*FLOATS, "complex64", "complex128", *WHOLE, "bool"]

FORMS = {
    "zip": {},
    "zip-protocol-4": {"pickle_protocol": 4},
    "legacy": {"_use_new_zipfile_serialization": False},
    "legacy-protocol-5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
}


def tagged(x):
    x.note = "an attribute"
    return x


LAYOUTS = {
    "packed": lambda x: x.reshape(2, 3, 4),
    "scalar": lambda x: x[5],
    "empty": lambda x: x[:0].reshape(0, 3),
    "transposed": lambda x: x.reshape(4, 6).t(),
    "permuted": lambda x: x.reshape(2, 3, 4).permute(2, 0, 1),
    "offset": lambda x: x[7:],
    "stepped": lambda x: x[3::4],
    "window": lambda x: x.reshape(4, 6)[1:3, 2:5],
    "overlapping": lambda x: x.as_strided((4, 5), (2, 1), 3),
    "expanded": lambda x: x[:3].reshape(3, 1).expand(2, 3, 5),
    "channels-last": lambda x: x.reshape(1, 2, 3, 4).as_strided((1, 2, 3, 4), (24, 1, 8, 2)),
    "odd-strides-of-ones": lambda x: x.as_strided((1, 24, 1), (7, 1, 1000)),
    "detached": lambda x: x.detach(),
    "tagged": lambda x: tagged(x.reshape(4, 6)[1:]),
}


def elements(name, count=24):
    dtype = getattr(torch, name)
    torch.manual_seed(0)
    if dtype.is_complex or dtype in (torch.float64, torch.float32):
        return torch.randn(count, dtype=dtype)
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (count * dtype.itemsize,))
    return raw.to(torch.uint8).view(dtype)


def bits(tensor) -> bytes:
    packed = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return packed.view(torch.uint8).numpy().tobytes()


def same(array, tensor):
    assert str(array.dtype) == str(tensor.dtype).removeprefix("torch.")
    assert array.shape == tuple(tensor.shape)
    assert array.tobytes() == bits(tensor)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_dtype_in_every_layout_and_form(tmp_path, form, layout):
    saved = {name: LAYOUTS[layout](elements(name)) for name in DTYPES}
    torch.save(saved, tmp_path / "x.pt", **FORMS[form])
    head = (tmp_path / "x.pt").read_bytes()[:300]
    assert looks_like_pytorch(head)
    read = load_pytorch(tmp_path / "x.pt")
    with PytorchFile(tmp_path / "x.pt") as file:
        assert list(file) == list(read) == DTYPES
        for name, tensor in saved.items():
            same(read[name], tensor)
            same(file[name].read(), tensor)
            same(file[name].view(), tensor)
            assert (file[name].dtype, file[name].shape) == (read[name].dtype, read[name].shape)
            assert file[name].nbytes == read[name].nbytes
            assert read[name].flags.writeable
            assert read[name].flags.c_contiguous
            assert not file[name].view().flags.writeable or not read[name].size


@pytest.mark.parametrize("form", FORMS)
def test_conjugated_and_negated(tmp_path, form):
    views = {"conj": torch.conj, "neg": lambda x: x.conj().imag}
    saved = {
        f"{name}.{layout}.{view}": views[view](LAYOUTS[layout](elements(name)))
        for name in ("complex64", "complex128")
        for layout in ("packed", "window", "scalar", "empty", "expanded")
        for view in views
    }
    assert all(tensor.is_conj() or tensor.is_neg() for tensor in saved.values())
    torch.save(saved, tmp_path / "x.pt", **FORMS[form])
    read = load_pytorch(tmp_path / "x.pt")
    with PytorchFile(tmp_path / "x.pt") as file:
        for name, tensor in saved.items():
            same(read[name], tensor)
            same(file[name].view(), tensor)


@pytest.mark.parametrize("form", FORMS)
def test_parameters_and_buffers(tmp_path, form):
    floating = [name for name in DTYPES if "float" in name or "complex" in name]
    saved = {name: torch.nn.Parameter(elements(name)) for name in floating}
    saved["tagged"] = tagged(torch.nn.Parameter(elements("float32")))
    saved["buffer"] = torch.nn.Buffer(elements("int8"))
    torch.save(saved, tmp_path / "x.pt", **FORMS[form])
    for name, array in load_pytorch(tmp_path / "x.pt").items():
        same(array, saved[name])


@pytest.mark.parametrize("form", FORMS)
def test_plain_values(tmp_path, form):
    lists = collections.defaultdict(list, {"a": [1, 2]})
    counts = collections.Counter("abba")
    saved = {
        "numbers": [0, -1, 255, 65536, -(2**31), 2**40, -(2**70), 1.5, float("inf"), 1 + 2j],
        "others": (None, True, False, "text with ü", b"bytes \xff", b"", {1, "two"}, ()),
        "dicts": {"empty": {}, 3: "int key", None: 0, True: 1, 2.5: "float"},
        "more": collections.OrderedDict(x=lists, y=counts),
        "deep": [[[[("end",)]]]],
    }
    torch.save(saved, tmp_path / "x.pt", **FORMS[form])
    assert load_pytorch(tmp_path / "x.pt") == saved


@pytest.mark.parametrize("form", FORMS)
def test_sizes_devices_and_dtypes(tmp_path, form):
    saved = [torch.Size([2, 3]), torch.device("cuda:1"), torch.device("cpu"), torch.bfloat16]
    torch.save(saved, tmp_path / "x.pt", **FORMS[form])
    size, cuda, cpu, dtype = load_pytorch(tmp_path / "x.pt")
    assert (size, cuda, cpu, str(dtype)) == ((2, 3), "cuda:1", "cpu", "bfloat16")


@pytest.mark.parametrize("form", FORMS)
def test_a_run_with_its_optimizer(tmp_path, form):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    saved = {"model": model.state_dict(), "opt": optimizer.state_dict(), "epoch": 3}
    torch.save(saved, tmp_path / "x.pt", **FORMS[form])
    with PytorchFile(tmp_path / "x.pt") as file:
        assert file.metadata == {}
        same(file["model.0.weight"].read(), model[0].weight)
        same(file["opt.state.1.exp_avg"].read(), optimizer.state_dict()["state"][1]["exp_avg"])
        assert "opt.param_groups.0.lr" not in file
        assert len(file) == len(model.state_dict()) + 3 * 4
    read = load_pytorch(tmp_path / "x.pt")
    assert read["opt"]["param_groups"] == saved["opt"]["param_groups"]
    assert list(read["opt"]["state"]) == [0, 1, 2, 3]
    chosen = load_pytorch(tmp_path / "x.pt", select=["opt.param_groups.0.lr", "*.running_*"])
    assert chosen["opt"] == {"param_groups": [{"lr": 0.5}]}
    assert list(chosen["model"]) == ["1.running_mean", "1.running_var"]


def test_tied_arrays_are_one_array(tmp_path):
    weight, copy = torch.ones(3), torch.ones(3)
    saved = {"a": weight, "b": weight, "c": weight.detach(), "d": weight[1:], "e": copy}
    torch.save(saved, tmp_path / "x.pt")
    read = load_pytorch(tmp_path / "x.pt")
    assert read["a"] is read["b"] is read["c"]
    assert len({id(array) for array in read.values()}) == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_or_storage_alone(tmp_path, form):
    for saved in (torch.arange(3), torch.nn.Parameter(torch.ones(2))):
        torch.save(saved, tmp_path / "x.pt", **FORMS[form])
        same(load_pytorch(tmp_path / "x.pt"), saved)
        assert list(PytorchFile(tmp_path / "x.pt")) == [""]
    torch.save(torch.arange(3).untyped_storage(), tmp_path / "x.pt", **FORMS[form])
    assert load_pytorch(tmp_path / "x.pt").view(np.int64).tolist() == [0, 1, 2]


def test_sums_are_checked_where_the_file_has_them(tmp_path):
    path = tmp_path / "x.pt"
    try:
        for checked in (True, False):
            torch.serialization.set_crc32_options(checked)
            torch.save({"w": torch.full((100,), 7.0)}, path)
            raw = path.read_bytes()
            path.write_bytes(raw.replace(np.float32(7).tobytes(), np.float32(8).tobytes(), 1))
            if checked:
                with pytest.raises(ValueError, match=r"x\.pt: w is damaged"):
                    load_pytorch(path)
            else:
                assert load_pytorch(path)["w"].sum() == 701
    finally:
        torch.serialization.set_crc32_options(True)


# ---- what is refused by name ---------------------------------------------------------------------


class Settings:
    """A class of the user's own."""


def refused():
    import argparse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "sparse": (torch.eye(2).to_sparse(), "sparse tensor"),
            "sparse_csr": (torch.eye(2).to_sparse_csr(), "sparse tensor"),
            "quantized": (
                torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
                "quantized",
            ),
            "meta": (torch.ones(2, device="meta"), "meta device"),
            "nested": (torch.nested.nested_tensor([torch.ones(2)]), "nested tensor"),
            "module": (torch.nn.Linear(1, 1), r"module\.state_dict\(\)"),
            "half": (torch.ones(2, dtype=torch.complex32), "complex32"),
            "scalar": (np.float64(1), "NumPy scalar"),
            "array": (np.ones(2), "NumPy scalar or array"),
            "options": (argparse.Namespace(lr=1), r"vars\(options\)"),
            "own": (Settings(), "Settings"),
            "function": (torch.nn.functional.relu, "relu"),
            "path": (__import__("pathlib").PurePosixPath("x"), "pathlib"),
            "list_class": (list, "class builtins.list"),
            "frozen": (frozenset([1]), "frozenset"),
        }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", list(refused()))
@pytest.mark.filterwarnings("ignore")
def test_refused_by_name_unless_left_out(tmp_path, form, kind):
    value, message = refused()[kind]
    path = tmp_path / "x.pt"
    torch.save({"good": torch.ones(2), "bad": {kind: [value]}}, path, **FORMS[form])
    for read in (load_pytorch, PytorchFile):
        with pytest.raises(ValueError, match=rf"(?s)x\.pt: .*bad\.{kind}\.0.*{message}.*select="):
            read(path)
        assert list(read(path, select="good")) == ["good"]


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    torch.save({"good": torch.ones(2)}, tmp_path / "x.pt")
    for read in (load_pytorch, PytorchFile):
        with pytest.raises(
            ValueError, match=r"x\.pt: pattern 'god' matches no path; there are: good"
        ):
            read(tmp_path / "x.pt", select=["good", "god"])


def test_a_program_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="TorchScript"):
        load_pytorch(tmp_path / "x.pt")
