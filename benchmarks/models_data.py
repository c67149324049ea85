"""What all sides of `benchmarks.models` share: batches and the optimizer's settings."""

from typing import Any

import numpy as np

__all__ = ["CLASSES", "LR", "VOCABULARY", "WEIGHT_DECAY", "batch"]

LR, WEIGHT_DECAY = 1e-3, 1e-2
CLASSES, VOCABULARY = 10, 65

SHAPES = {
    "mlp": (128, 784),
    "deep": (32, 64),
    "cnn": (128, 1, 28, 28),
    "resnet": (32, 3, 32, 32),
    "vit": (32, 3, 32, 32),
    "lstm": (32, 128),
    "gpt": (16, 128),
}


def batch(row: str) -> tuple[Any, Any]:
    """Return the inputs and targets of one row's step."""
    rng, shape = np.random.default_rng(0), SHAPES[row]
    if row in ("lstm", "gpt"):
        tokens = rng.integers(0, VOCABULARY, (shape[0], shape[1] + 1), np.int32)
        return tokens[:, :-1].copy(), tokens[:, 1:].copy()
    x = rng.standard_normal(shape, np.float32)
    if row == "deep":
        return x, np.zeros(shape, np.float32)
    return x, rng.integers(0, CLASSES, shape[0], np.int32)
