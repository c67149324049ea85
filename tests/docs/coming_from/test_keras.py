"""Keras beside funcnet: the page runs with it, and weights moved by its functions give equal outputs."""

import os

import jax
import numpy as np
import pytest

from docs.generation.assemble import DOCS
from funcnet import nn
from tests.docs.coming_from.pages_with_others import check, run

X = np.sin(np.arange(2 * 5 * 8, dtype=np.float32)).reshape(2, 5, 8)
IMAGES = np.sin(np.arange(2 * 3 * 6 * 6, dtype=np.float32)).reshape(2, 3, 6, 6)
LAST = IMAGES.transpose(0, 2, 3, 1)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def keras():
    """Keras reads its backend as it is imported, and relies on implicit promotion."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("keras")


def drawn(layer, x):
    """Numbers that are all different: zeros of biases would hide mistakes."""
    layer(x)
    draw = np.random.default_rng(0).random
    layer.set_weights([np.float32((0.3 + draw(w.shape)) / 3) for w in layer.get_weights()])
    return {w.path: np.asarray(w) for w in layer.weights}, np.asarray(layer(x))


@pytest.mark.slow
def test_the_page_and_its_functions(keras):
    ours, theirs = run((DOCS / "coming_from/keras.md").read_text())
    assert theirs["keras_history"].history["val_loss"][-1] < 2
    layers, moved = keras.layers, ours["from_keras"]
    first = lambda images: images.transpose(0, 3, 1, 2)

    weights, expected = drawn(layers.Dense(3), X)
    check(nn.Linear(8, 3), moved(weights), X, expected=expected)
    weights, expected = drawn(layers.Conv2D(4, 3), LAST)
    check(nn.Conv2d(3, 4, 3), moved(weights), IMAGES, expected=first(expected))
    weights, expected = drawn(layers.BatchNormalization(epsilon=1e-5), LAST)
    check(nn.BatchNorm2d(3), moved(weights), IMAGES, expected=first(expected))
    weights, expected = drawn(layers.LayerNormalization(epsilon=1e-5), X)
    check(nn.LayerNorm(8), moved(weights), X, expected=expected)
    tokens = np.arange(6).reshape(2, 3)
    weights, expected = drawn(layers.Embedding(9, 4), tokens)
    check(nn.Embedding(9, 4), moved(weights), tokens, expected=expected)
    for layer, convert, module in (
        (layers.LSTM(6, return_sequences=True), "lstm_from_keras", nn.LSTM),
        (layers.GRU(6, return_sequences=True), "gru_from_keras", nn.GRU),
        (layers.SimpleRNN(6, return_sequences=True), "lstm_from_keras", nn.RNN),
    ):
        _, expected = drawn(layer, X)
        arrays = ours[convert](*layer.get_weights())
        check(module(8, 6, batch_first=True), arrays, X, expected=expected)
    attention = layers.MultiHeadAttention(2, 4)
    attention(X, X)
    draw = np.random.default_rng(0).random
    attention.set_weights([np.float32(draw(w.shape) / 3) for w in attention.get_weights()])
    kinds = [w.path.split("/")[-2] for w in attention.weights[::2]]
    assert kinds == ["query", "key", "value", "attention_output"]
    arrays = ours["attention_from_keras"](*attention.get_weights())
    expected = np.asarray(attention(X, X))
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    check(module, arrays, X, X, X, expected=expected)
