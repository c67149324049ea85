"""The LSTM language model against PyTorch's, in one piece and in two."""

import pytest

from examples.models.lstm_lm import LSTMLM, LSTMConfig
from funcnet import checkpoint
from tests.models import reference

torch = pytest.importorskip("torch")

EXACT = 1e-5  # float32


@pytest.mark.parametrize("tied", [False, True])
def test_lstm_lm(tied, rng, tmp_path):
    embedded = 12 if tied else 10
    theirs = reference.randomize(reference.LSTMLM(30, embedded, 12, 2, tied))
    ours = LSTMLM(LSTMConfig(30, embedded, 12, 2, tied=tied))
    tokens = rng.integers(0, 30, (3, 9))
    with torch.no_grad():
        expected, last = theirs(torch.tensor(tokens))

    path = checkpoint.save_arrays(
        tmp_path / "w.safetensors", reference.arrays_of(theirs.state_dict().items())
    )
    params, state = reference.load(path, ours)
    (logits, memory), _ = reference.applied(ours, params, state, tokens)
    assert reference.far(logits, expected) < EXACT
    for found, array in zip(memory, last, strict=True):
        assert reference.far(found, array) < EXACT

    (_, memory), _ = reference.applied(ours, params, state, tokens[:, :4])
    (rest, _), _ = reference.applied(ours, params, state, tokens[:, 4:], memory)
    assert reference.far(rest, expected[:, 4:]) < EXACT
