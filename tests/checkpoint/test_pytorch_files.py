"""Files that PyTorch 2.13 wrote, read where it is not installed."""

import ml_dtypes  # noqa: F401  (NumPy learns the names of its dtypes)
import numpy as np
import pytest

from funcnet.checkpoint.files.pytorch_file import PytorchFile, load_pytorch, looks_like_pytorch
from tests.checkpoint.make_pytorch_files import DTYPES, FOLDER, FORMS, VALUES

BASE = np.arange(24, dtype=np.float32)

VIEWS = {
    "transposed": BASE.reshape(4, 6).T,
    "stepped": BASE[3::4],
    "expanded": np.broadcast_to(BASE[:2].reshape(2, 1), (3, 2, 4)),
    "scalar": BASE[5],
    "empty": BASE[:0].reshape(0, 3),
    "conjugated": np.array([2 - 2j, 3 - 3j], np.complex64),
    "negated": np.array([-2, -3], np.float32),
}


@pytest.fixture(params=FORMS)
def path(request):
    return FOLDER / f"{request.param}.pt"


def test_dtypes(path):
    read = load_pytorch(path, "dtypes.*")["dtypes"]
    assert list(read) == DTYPES
    for name, array in read.items():
        expected = np.array(VALUES).astype(np.dtype(name)).reshape(2, 3)
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_views(path):
    read = load_pytorch(path, "views.*")["views"]
    with PytorchFile(path, "views.*") as file:
        assert list(file) == [f"views.{name}" for name in VIEWS]
        for name, expected in VIEWS.items():
            for array in (read[name], file[f"views.{name}"].read(), file[f"views.{name}"].view()):
                assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
                np.testing.assert_array_equal(array, expected)


def test_a_model_its_optimizer_and_plain_values(path):
    read = load_pytorch(path)
    assert read["plain"] == [3, 2.5, "text", None, True, ((2,), "cpu")]
    assert read["model"]["weight"].ravel().tolist() == VALUES
    assert read["model"]["bias"].tolist() == [0, 0, 0]
    assert read["optimizer"]["param_groups"][0]["lr"] == 0.5
    assert read["optimizer"]["param_groups"][0]["params"] == [0, 1]
    assert read["optimizer"]["state"][1]["exp_avg"].shape == (3,)
    with PytorchFile(path) as file:
        assert file["optimizer.state.0.exp_avg"].shape == (3, 2)
        assert len(file) == len(DTYPES) + len(VIEWS) + 2 + 2 * 3


REASONS = {
    "sparse": "sparse tensor",
    "quantized": "quantized tensor",
    "meta": "meta device",
    "module": r"module\.state_dict\(\)",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", REASONS)
def test_what_is_refused(form, kind):
    path = FOLDER / f"refused_{form}.pt"
    if kind == "module" and form.startswith("stream"):
        kind = "sparse"  # streams of modules hold their source: tested where PyTorch is
    with pytest.raises(ValueError, match=rf"'{kind}' is .*{REASONS[kind]}.*select="):
        load_pytorch(path, ["good", kind])
    assert load_pytorch(path, "good")["good"].tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"'sparse' is .*select="):
        PytorchFile(path)


def test_the_files_are_known_by_their_first_bytes(path):
    assert looks_like_pytorch(path.read_bytes()[:300])
    assert not looks_like_pytorch(b"\x10\0\0\0\0\0\0\0" + b'{"a":{}}')


def test_a_closed_file_is_empty(path):
    with PytorchFile(path) as file:
        stored = file["model.bias"]
        assert "model.bias" in file
        with pytest.raises(KeyError):
            file["model"]
    assert not file
    assert stored.read().shape == (3,)
