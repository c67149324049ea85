"""Values and gradients on hostile inputs: far from zero, tiny, huge, with outliers, equal, infinite.

The truth is the same function in float64, on the same rounded numbers (rows compare that with PyTorch).
In fewer bits an error may be four times that of PyTorch, or a few units in the last place.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.functional.rows.calls import CALLS, ERRORS, LABELLED, POINTWISE

OTHERS = [
    "threshold",
    "prelu",
    "cosine_similarity",
    "pairwise_distance",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
    "cross_entropy",
    "nll_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "linear_cross_entropy",
    "ctc_loss",
    "batch_norm",
    "instance_norm",
    "group_norm",
    "layer_norm",
    "rms_norm",
    "local_response_norm",
]
NAMES = sorted({*POINTWISE, *ERRORS, *LABELLED, *OTHERS})

FAR = {"float32": 1e6, "bfloat16": 1e3, "float16": 1e3}
TINY = {"float32": 1e-15, "bfloat16": 1e-15, "float16": 1e-4}
"""Products of two of them are normal numbers still: XLA on CPU takes what is smaller for zero."""
UNITS = 4
"""Units in the last place that are always allowed."""

PROBABILITIES = {"binary_cross_entropy"}
POSITIVE = {("gaussian_nll_loss", "var")}
NO_GRADIENT = {
    "weight": (
        "cross_entropy",
        "nll_loss",
        "multi_margin_loss",
    ),  # PyTorch has none to compare with
    "running_mean": ("batch_norm", "instance_norm"),
    "running_var": ("batch_norm", "instance_norm"),
}


def _kinds(name, dtype):
    """Inputs by their kind; parameters stay as they are."""
    call = CALLS[name]
    plain = call.arrays()
    rng = np.random.default_rng(1)

    def each(function, only_first=False):
        chosen = list(call.data)[: 1 if only_first else None]
        return {key: function(array) if key in chosen else array for key, array in plain.items()}

    def outlier(value):
        def place(array):
            array = array.copy()
            array.reshape(-1)[0] = value
            return array

        return place

    kinds = {
        "plain": plain,
        "tiny": each(lambda x: x * TINY[dtype]),
        "zeros": each(np.zeros_like),
        "ones": each(np.ones_like),
    }
    if name not in PROBABILITIES:
        kinds |= {
            "signed": each(lambda x: rng.standard_normal(x.shape) * 4),
            "far above": each(lambda x: x + FAR[dtype]),
            "far below": each(lambda x: x - FAR[dtype]),
            "huge": each(lambda x: x * FAR[dtype] * 10),
            "outlier": each(outlier(FAR[dtype])),
            "infinite": each(outlier(np.inf), only_first=True),
            "minus infinite": each(outlier(-np.inf), only_first=True),
        }
    for arrays in kinds.values():
        for key, array in arrays.items():
            positive = (name, key) in POSITIVE
            rounded = jnp.asarray(np.abs(array) if positive else array, dtype)
            arrays[key] = np.asarray(rounded, np.float64)
    return kinds


def _cotangent(shape):
    return np.cos(np.arange(int(np.prod(shape))) * 0.7 + 0.3).reshape(shape)


@functools.cache
def _ours(name):
    call = CALLS[name]

    def one(arrays):
        def weighted(arrays):
            output = call.run(name, arrays)
            wide = jnp.float64 if output.dtype == jnp.float64 else jnp.float32
            return jnp.sum(output.astype(wide) * _cotangent(output.shape).astype(wide)), output

        (_, output), grads = jax.value_and_grad(weighted, has_aux=True)(arrays)
        return {"value": output, **grads}

    return jax.jit(jax.vmap(one))


def _run_ours(name, kinds, dtype):
    keys = next(iter(kinds.values()))
    stacked = {key: jnp.asarray(np.stack([a[key] for a in kinds.values()]), dtype) for key in keys}
    return {key: np.asarray(array, np.float64) for key, array in _ours(name)(stacked).items()}


def _run_theirs(name, arrays, dtype):
    import torch

    tensors = {
        key: torch.tensor(array).to(getattr(torch, dtype)).requires_grad_("running" not in key)
        for key, array in arrays.items()
    }
    other = {
        key: torch.tensor(np.asarray(value)).long() if isinstance(value, jax.Array) else value
        for key, value in CALLS[name].other.items()
        if key != "key"
    }
    if "normalized_shape" in other:
        other["normalized_shape"] = (other["normalized_shape"],)
    for key, names in NO_GRADIENT.items():
        if name in names and key in tensors:
            tensors[key] = tensors[key].detach()
    output = getattr(torch.nn.functional, name)(**tensors, **other)
    total = (output.float() * torch.tensor(_cotangent(tuple(output.shape))).float()).sum()
    leaves = {key: tensor for key, tensor in tensors.items() if tensor.requires_grad}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    grads = {key: grad for key, grad in zip(leaves, found, strict=True) if grad is not None}
    return {key: t.detach().double().numpy() for key, t in {"value": output, **grads}.items()}


@pytest.mark.filterwarnings("ignore:.*divides the total loss.*:UserWarning")
@pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")
@pytest.mark.filterwarnings("ignore:.*deprecated.*")
@pytest.mark.parametrize("name", NAMES)
def test_hostile_values(name):
    pytest.importorskip("torch")
    wrong = []
    for dtype in ("float32", "bfloat16", "float16"):
        kinds = _kinds(name, dtype)
        with jax.enable_x64(True):
            exact = _run_ours(name, kinds, "float64")
        ours = _run_ours(name, kinds, dtype)
        for place, (kind, arrays) in enumerate(kinds.items()):
            try:
                theirs = _run_theirs(name, arrays, dtype)
            except (RuntimeError, NotImplementedError):
                theirs = {}  # PyTorch has no kernel of this dtype
            for key in exact:
                if name in NO_GRADIENT.get(key, ()):
                    continue
                fault = _fault(exact[key][place], ours[key][place], theirs.get(key), dtype)
                wrong += [f"{dtype}, {kind}, {key}: {fault}"] if fault else []
    assert not wrong, "\n".join(wrong)


def _fault(exact, ours, theirs, dtype):
    """Say what is wrong with an array, if anything is."""
    limits = jnp.finfo(dtype)
    exact = np.where(np.abs(exact) > float(limits.max), np.copysign(np.inf, exact), exact)
    fine = np.isfinite(exact)
    if theirs is None:
        theirs = np.where(fine, exact, np.nan)
    if (fine & ~np.isfinite(ours) & np.isfinite(theirs)).any():
        return "not finite"
    if (np.isinf(exact) & np.isnan(ours) & ~np.isnan(theirs)).any():
        return "NaN for infinity"
    both = fine & np.isfinite(ours)
    scale = np.abs(exact[fine]).max(initial=0)
    error = np.abs(ours[both] - exact[both]).max(initial=0)
    known = both & np.isfinite(theirs)
    equal = np.abs(theirs[known] - exact[known]).max(initial=0)
    # what is below the smallest normal number is flushed to zero by XLA on CPU
    bound = 4 * equal + UNITS * float(limits.eps) * scale + float(limits.smallest_normal)
    return f"{error / scale:.1e} off, PyTorch {equal / scale:.1e}" if error > bound else ""


def test_an_infinite_variance_is_one():
    x, infinite = jnp.array([1.0, -2.0]), jnp.array([jnp.inf, 4.0])
    assert F.gaussian_nll_loss(x, x, infinite, reduction="none").tolist() == [
        jnp.inf,
        pytest.approx(0.5 * np.log(4)),
    ]
    grads = jax.grad(lambda x: F.gaussian_nll_loss(x, 0 * x, infinite, reduction="sum"))(x)
    assert grads.tolist() == [0.0, -0.5]


WITHOUT_NAN = {
    **{
        (name, statistic): "the batch's statistics are used"
        for name in ("batch_norm", "instance_norm")
        for statistic in ("running_mean", "running_var")
    },
    ("prelu", "weight"): "only what is negative is multiplied",
    ("hinge_embedding_loss", "target"): "neither 1 nor -1, and so both costs count",
}
"""Arguments whose NaN need not be seen in the result, and why."""


@pytest.mark.parametrize(
    "name", [n for n in (*NAMES, "avg_pool2d", "max_pool2d") if n != "ctc_loss"]
)
def test_nan_is_not_lost(name):
    """A model that diverged must not seem perfect: NaN in, NaN out, also where costs are cut off at zero."""
    call = CALLS[name]
    plain = {key: jnp.asarray(array, jnp.float32) for key, array in call.arrays().items()}
    keys = [key for key in plain if (name, key) not in WITHOUT_NAN]
    stacked = {
        key: jnp.stack([jnp.full_like(array, jnp.nan) if one == key else array for one in keys])
        for key, array in plain.items()
    }
    result = jax.jit(jax.vmap(lambda arrays: call.run(name, arrays)))(stacked)
    assert all(jnp.isnan(one).any() for one in result), keys
