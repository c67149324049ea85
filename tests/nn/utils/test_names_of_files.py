"""Files that PyTorch's older utilities left: the error says what makes their names fit."""

import numpy as np
import pytest

import funcnet as fn
from funcnet import nn

SHAPES = {"weight_orig": (3, 4), "weight_mask": (3, 4), "weight_u": (3,), "weight_v": (4,)}


def file(*names):
    return {"0.bias": np.zeros(3)} | {f"0.{name}": np.zeros(SHAPES[name]) for name in names}


@pytest.mark.parametrize(
    ("layer", "names", "hints"),
    [
        (nn.Linear, ("weight_orig", "weight_mask"), ["compression.split_pruned(arrays)"]),
        (nn.Linear, ("weight_orig", "weight_u", "weight_v"), ["nn.utils.spectral_norm(layer)"]),
        (
            lambda *sizes: nn.utils.spectral_norm(nn.Linear(*sizes)),
            ("weight_orig", "weight_u", "weight_v"),
            [
                "'*.weight_orig': '*.parametrizations.weight.original'",
                "'*.weight_u': '*.parametrizations.weight.0._u'",
                "'*.weight_v': '*.parametrizations.weight.0._v'",
            ],
        ),
    ],
    ids=["pruned", "spectral norm", "older spectral norm"],
)
def test_names_are_explained(layer, names, hints):
    with pytest.raises(fn.errors.StateDictError) as raised:
        fn.load_state_dict(nn.Sequential(layer(4, 3)), file(*names))
    for hint in hints:
        assert hint in str(raised.value)
    assert "is 0.weight" not in str(raised.value)
