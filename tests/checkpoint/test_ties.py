"""Tied parameters in files: once with a note, under every name, or in one storage; PyTorch reads each its way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

import funcnet as fn
from funcnet import checkpoint, nn
from funcnet.core.errors import StateDictError
from tests.module.models import Dense, Tied, built


class Untied(Tied):
    """The same names, but each parameter by itself."""

    def __init__(self):
        self.encoder = Dense(4, 4)
        self.decoder = Dense(4, 4)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def tied():
    module = Tied()
    _, params, state = built(module)
    return module, params, state


FORMS = {
    "once": ("safetensors", {"ties": "once"}),
    "every name": ("safetensors", {"ties": "every name"}),
    "shards": ("safetensors", {"shard_bytes": 64}),
    "pt": ("pt", {}),
}


@pytest.mark.parametrize(("ending", "how"), FORMS.values(), ids=FORMS.keys())
def test_every_form_comes_back_tied_or_not(tmp_path, tied, ending, how):
    module, params, state = tied
    path = checkpoint.save_weights(tmp_path / f"a.{ending}", module, params, state, **how)
    same(checkpoint.load_weights(path, module), (params, state))
    untied, _ = checkpoint.load_weights(path, Untied())
    same(untied["decoder"]["weight"], params["encoder"]["weight"])
    renamed, _ = checkpoint.load_weights(
        path,
        nn.Sequential(Untied()),
        rename={"*": "0.*"},
    )
    same(renamed["0"], untied)
    part, _ = checkpoint.load_weights(path, Untied(), strict=False, select="decoder.*")
    same(part, {"decoder": untied["decoder"]})


def test_once_is_under_the_first_name_with_a_note(tmp_path, tied):
    module, params, state = tied
    path = checkpoint.save_weights(tmp_path / "a", module, params, state, metadata={"epoch": "3"})
    with safetensors.safe_open(path, "np") as file:
        assert set(file.keys()) == {"encoder.weight", "encoder.bias", "decoder.bias"}
        notes = file.metadata()
    assert notes.items() >= {"decoder.weight": "encoder.weight", "epoch": "3"}.items()


def test_without_ties_there_is_no_note(tmp_path):
    module = Dense(3, 2)
    _, params, state = built(module)
    path = checkpoint.save_weights(tmp_path / "a", module, params, state)
    assert checkpoint.load_metadata(path) == {"format": "pt"}


def test_a_tie_that_the_module_lacks_altogether_is_left_alone(tmp_path, tied):
    module, params, state = tied
    path = checkpoint.save_weights(tmp_path / "a", module, params, state)
    loaded, _ = checkpoint.load_weights(
        path, Dense(4, 4), rename={"encoder.*": "*", "decoder.*": None}
    )
    same(loaded, params["encoder"])


def test_tied_names_with_other_values_are_refused_by_the_files_name(tmp_path, tied):
    module, params, state = tied
    named = dict(fn.state_dict(module, params, state)) | {"decoder.weight": jnp.ones((4, 4))}
    path = checkpoint.save_arrays(tmp_path / "odd", named)
    with pytest.raises(
        StateDictError, match=r"(?s)odd: .*decoder\.weight differs from encoder\.weight"
    ):
        checkpoint.load_weights(path, module)


def test_a_word_that_is_no_way_to_tie(tmp_path, tied):
    with pytest.raises(ValueError, match="every name"):
        checkpoint.save_weights(tmp_path / "a", *tied, ties="twice")


# ---- PyTorch -------------------------------------------------------------------------------------


@pytest.fixture
def theirs():
    torch = pytest.importorskip("torch")

    class Autoencoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(4, 4)
            self.decoder = torch.nn.Linear(4, 4)
            self.decoder.weight = self.encoder.weight

    return Autoencoder()


def check_theirs(theirs, params):
    same(theirs.encoder.weight.detach().numpy(), params["encoder"]["weight"])
    same(theirs.decoder.bias.detach().numpy(), params["decoder"]["bias"])
    assert theirs.decoder.weight is theirs.encoder.weight


def test_load_model_reads_what_is_stored_once(tmp_path, tied, theirs):
    from safetensors.torch import load_model, save_model

    module, params, state = tied
    path = checkpoint.save_weights(tmp_path / "a", module, params, state)
    assert load_model(theirs, path, strict=True) == (set(), [])
    check_theirs(theirs, params)
    save_model(theirs, tmp_path / "back")
    same(checkpoint.load_weights(tmp_path / "back", module), (params, state))
    same(checkpoint.load_weights(tmp_path / "back", Untied())[0]["encoder"], params["encoder"])


def test_load_file_reads_every_name(tmp_path, tied, theirs):
    from safetensors.torch import load_file

    module, params, state = tied
    path = checkpoint.save_weights(tmp_path / "a", module, params, state, ties="every name")
    theirs.load_state_dict(load_file(path), strict=True)
    check_theirs(theirs, params)


def test_torch_load_finds_one_storage(tmp_path, tied, theirs):
    import torch

    module, params, state = tied
    path = checkpoint.save_weights(tmp_path / "a.pt", module, params, state)
    loaded = torch.load(path, weights_only=True)
    assert loaded["encoder.weight"].data_ptr() == loaded["decoder.weight"].data_ptr()
    assert loaded["encoder.weight"].data_ptr() != loaded["encoder.bias"].data_ptr()
    theirs.load_state_dict(loaded, strict=True)
    check_theirs(theirs, params)
    torch.save(theirs.state_dict(), tmp_path / "back.pt")
    same(checkpoint.load_weights(tmp_path / "back.pt", module), (params, state))
