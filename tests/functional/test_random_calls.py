"""Calls with arguments drawn at random, against PyTorch: values, gradients, and what is refused.

Rows name the cases that somebody thought of; these are the others. ``--grid=full`` draws many of each.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F


class Draw:
    """Random shapes, settings and arrays of one seed."""

    def __init__(self, name, seed):
        self.rng = np.random.default_rng([seed, *name.encode()])

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def size(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def array(self, *shape):
        """Numbers of several magnitudes, some whole, some not in the order of their axes."""
        array = self.rng.standard_normal(shape) * self.pick(1, 1, 4, 0.01)
        array = np.round(array) if self.chance(0.1) else array
        return np.asfortranarray(array) if self.chance(0.2) else array

    def shape(self, low, high):
        """Axes of which some are one, and a few empty."""
        return tuple(self.pick(0, 1, 1, 2, 3, 4, 5, 5, 6) for _ in range(self.size(low, high)))

    def settings(self, **choices):
        """Give each setting with a chance of one half."""
        return {name: self.pick(*some) for name, some in choices.items() if self.chance(0.5)}

    def axes(self, dims, low, high):
        """One number for all axes, or one for each."""
        each = tuple(self.size(low, high) for _ in range(dims))
        return each[0] if self.chance(0.5) else each


REDUCTION = ("mean", "sum", "none", "none")
CALLS = {}
"""By function: from a draw to arrays to differentiate, and the other arguments."""


def calls(*names):
    def add(make):
        CALLS.update(dict.fromkeys(names, make))
        return make

    return add


@calls(
    "relu",
    "relu6",
    "silu",
    "mish",
    "softsign",
    "tanhshrink",
    "logsigmoid",
    "hardswish",
    "hardsigmoid",
)
def _plain(d):
    return {"input": d.array(*d.shape(0, 3))}, {}


@calls("celu", "softplus", "hardtanh", "gelu", "leaky_relu", "softshrink")
def _with_settings(d, name):
    choices = {
        "celu": {"alpha": (1.0, 0.3, 2.5)},
        "softplus": {"beta": (0.1, 5.0), "threshold": (1.0, 20.0)},
        "hardtanh": {"min_val": (-1.0, 0.5), "max_val": (1.0, 0.5, 0.0)},
        "gelu": {"approximate": ("none", "tanh", "erf")},
        "leaky_relu": {"negative_slope": (0.1, -1.0)},
        "softshrink": {"lambd": (0.5, 0.0, 2.0, -0.5)},
    }[name]
    return {"input": d.array(*d.shape(0, 3))}, d.settings(**choices)


@calls("softmax", "log_softmax", "glu")
def _along_an_axis(d):
    return {"input": d.array(*d.shape(1, 3))}, {"dim": d.pick(0, -1, 1, -2)}


@calls("cosine_similarity", "pairwise_distance")
def _distance(d, name):
    shape = list(d.shape(1, 3))
    other = list(shape)
    if d.chance(0.3):
        other[d.size(0, len(shape) - 1)] = 1
    choices = (
        {"dim": (0, -1)} if name == "cosine_similarity" else {"p": (1.0, 3.0), "keepdim": (True,)}
    )
    return {"x1": d.array(*shape), "x2": d.array(*other)}, d.settings(eps=(1e-6, 0.1), **choices)


@calls("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div", "poisson_nll_loss")
def _error(d, name):
    shape = d.shape(0, 3)
    choices = {
        "huber_loss": {"delta": (0.1, 3.0, -1.0)},
        "smooth_l1_loss": {"beta": (0.0, 0.1, 3.0, -1.0)},
        "kl_div": {"log_target": (True,)},
        "poisson_nll_loss": {"full": (True,), "eps": (0.1,)},
    }.get(name, {})
    other = d.settings(reduction=REDUCTION, **choices)
    arrays = {"input": d.array(*shape), "target": np.abs(d.array(*shape))}
    if name == "poisson_nll_loss":  # where PyTorch's gradient of a target below one is NaN
        other["target"] = np.asarray(arrays.pop("target"))
    return arrays, other


@calls("cross_entropy", "nll_loss", "multi_margin_loss")
def _classes(d, name):
    batch = () if d.chance(0.15) else (d.size(1, 5),)
    spatial = d.shape(0, 2) if batch and name != "multi_margin_loss" else ()
    classes = d.size(1, 6)
    target = d.rng.integers(0, classes, batch + spatial)
    other = d.settings(reduction=REDUCTION)
    if name != "multi_margin_loss" and d.chance(0.4):
        other["ignore_index"] = d.pick(0, -1, 255)
        target = np.where(d.rng.random(target.shape) < 0.3, other["ignore_index"], target)
    if name == "cross_entropy":
        other |= d.settings(label_smoothing=(0.1, 1.0, 1.5))
    if d.chance(0.3):
        other["weight"] = d.rng.uniform(0.1, 2, d.pick(classes, classes, classes + 1))
    if d.chance(0.05):
        target = np.full_like(target, classes + 1)
    return {"input": d.array(*batch, classes, *spatial)}, {**other, "target": np.asarray(target)}


@calls("layer_norm", "rms_norm")
def _norm_of_last_axes(d, name):
    shape = d.shape(1, 4)
    last = shape[-d.size(1, len(shape)) :]
    arrays = {"input": d.array(*shape)}
    if d.chance(0.6):
        arrays["weight"] = d.array(*last)
    if d.chance(0.5) and name == "layer_norm":
        arrays["bias"] = d.array(*last)
    return arrays, {"normalized_shape": last, **d.settings(eps=(1e-5, 0.1))}


@calls("batch_norm")
def _batch_norm(d):
    shape = (d.size(2, 5), d.size(1, 4), *d.shape(0, 2))
    running = shape[1] + d.chance(0.1)
    return {"input": d.array(*shape), "weight": d.array(shape[1]), "bias": d.array(shape[1])}, {
        "running_mean": d.array(running),
        "running_var": d.rng.uniform(0.1, 2, running),
        **d.settings(training=(True, False), eps=(1e-5, 0.1)),
    }


@calls(*(f"conv{dims}d" for dims in (1, 2, 3)), *(f"conv_transpose{dims}d" for dims in (1, 2)))
def _convolution(d, name):
    dims, groups = int(name[-2]), d.pick(1, 1, 2)
    inputs, outputs = groups * d.size(1, 2), groups * d.size(1, 2)
    other = {"groups": groups}
    for key, low, high in (("stride", 1, 3), ("dilation", 1, 3), ("padding", 0, 2)):
        if d.chance(0.5):
            other[key] = d.axes(dims, low, high)
    kernel = [d.size(1, 3) for _ in range(dims)]
    if "transpose" in name:
        weight = d.array(inputs, outputs // groups, *kernel)
        other |= {"output_padding": d.axes(dims, 0, 2)} if d.chance(0.4) else {}
    else:
        weight = d.array(outputs, inputs // groups, *kernel)
        other |= {"padding": d.pick("same", "valid")} if d.chance(0.2) else {}
    batch = () if d.chance(0.2) else (d.size(1, 3),)
    arrays = {"input": d.array(*batch, inputs, *(d.size(1, 6) for _ in kernel)), "weight": weight}
    return arrays | ({"bias": d.array(outputs)} if d.chance(0.5) else {}), other


@calls(
    *(
        f"{kind}_pool{dims}d"
        for kind in ("avg", "max", "adaptive_avg", "adaptive_max")
        for dims in (1, 2, 3)
    )
)
def _pool(d, name):
    dims = int(name[-2])
    batch = d.pick((d.size(1, 3), d.size(1, 3)), (d.size(1, 3),))
    arrays = {"input": d.array(*batch, *(d.size(1, 7) for _ in range(dims)))}
    if "adaptive" in name:
        return arrays, {"output_size": d.axes(dims, 1, 6)}
    other = {"kernel_size": d.axes(dims, 1, 3)}
    for key, low, high in (("stride", 1, 3), ("padding", 0, 2)):
        if d.chance(0.5):
            other[key] = d.axes(dims, low, high)
    other |= d.settings(ceil_mode=(True, False))
    if "avg" in name:
        return arrays, other | d.settings(count_include_pad=(True, False))
    return arrays, other | ({"dilation": d.axes(dims, 1, 2)} if d.chance(0.4) else {})


@calls("interpolate")
def _interpolate(d):
    dims = d.size(1, 3)
    smooth = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}[dims]
    other = {"mode": d.pick("nearest", "nearest-exact", "area", *smooth)}
    if d.chance(0.5):
        other["size"] = d.axes(dims, 1, 8)
    else:
        other["scale_factor"] = d.pick(0.3, 0.5, 1.0, 1.5, 2.0, 2.3)
    if other["mode"] in smooth:
        other |= d.settings(align_corners=(True, False))
    return {
        "input": d.array(d.size(1, 2), d.size(1, 3), *(d.size(1, 6) for _ in range(dims)))
    }, other


@calls("grid_sample")
def _grid_sample(d):
    dims, batch = d.pick(2, 2, 3), d.size(1, 3)
    modes = ("bilinear", "nearest") if dims == 3 else ("bilinear", "nearest", "bicubic")
    arrays = {
        "input": d.array(batch, d.size(1, 3), *(d.size(1, 5) for _ in range(dims))),
        "grid": d.array(batch, *(d.size(1, 4) for _ in range(dims)), dims),
    }
    return arrays, {
        "align_corners": d.chance(0.5),
        **d.settings(mode=modes, padding_mode=("border", "reflection", "reflect")),
    }


@calls("unfold")
def _unfold(d):
    other = {
        key: d.axes(2, low, 2) for key, low in (("stride", 1), ("dilation", 1), ("padding", 0))
    }
    batch = d.pick((d.size(1, 2), d.size(1, 3)), (d.size(1, 3),))
    return {"input": d.array(*batch, d.size(1, 6), d.size(1, 6))}, {
        "kernel_size": d.axes(2, 1, 3),
        **other,
    }


@calls("pad")
def _pad(d):
    dims, mode = d.size(1, 3), d.pick("constant", "reflect", "replicate", "circular")
    batch = (d.size(1, 3),) * d.size(1, 2)
    pad = [d.size(-1, 3) for _ in range(2 * dims)]
    return {"input": d.array(*batch, *(d.size(1, 5) for _ in range(dims)))}, {
        "pad": pad,
        "mode": mode,
    }


@calls("linear", "bilinear")
def _linear(d, name):
    batch, features, outputs = d.shape(0, 2), d.size(1, 4), d.size(1, 4)
    bias = {"bias": d.array(outputs)} if d.chance(0.6) else {}
    if name == "linear":
        return {
            "input": d.array(*batch, features),
            "weight": d.array(outputs, features),
            **bias,
        }, {}
    inputs = {"input1": d.array(*batch, features), "input2": d.array(*batch, 3)}
    return {**inputs, "weight": d.array(outputs, features, 3), **bias}, {}


@calls("embedding", "embedding_bag")
def _rows_of_a_table(d, name):
    rows = d.size(1, 5)
    other = {"input": d.rng.integers(0, rows, (d.size(1, 4), d.size(1, 4)))}
    other |= d.settings(padding_idx=(0, -1))
    if name == "embedding_bag":
        other |= d.settings(mode=("sum", "mean", "max"))
    return {"weight": d.array(rows, d.size(1, 3))}, other


REFUSED_HERE = {
    "output_padding must be smaller than": "of an empty batch too",
    "compares element by element": "one shape, or one number",
}
"""Words of our errors where PyTorch computes something."""
ACCEPTED_HERE = {
    "bilinear": "empty rows, where PyTorch cannot reshape",
    "interpolate": "to no elements, where PyTorch has no gradient",
    "pad": "of nothing is nothing",
}
"""Functions that take what PyTorch refuses, and which."""


def _cotangent(shape):
    return np.cos(np.arange(int(np.prod(shape))) * 0.7 + 0.3).reshape(shape)


def _run_theirs(torch, name, arrays, other):
    tensors = {key: torch.tensor(array, requires_grad=True) for key, array in arrays.items()}
    given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in other.items()}
    output = getattr(torch.nn.functional, name)(**tensors, **given)
    (output * torch.tensor(_cotangent(output.shape))).sum().backward()
    grads = {k: t.grad for k, t in tensors.items() if t.grad is not None}
    return {k: t.detach().numpy() for k, t in {"value": output, **grads}.items()}


def _run_ours(name, arrays, other):
    given = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in other.items()}

    def weighted(arrays):
        output = getattr(F, name)(**arrays, **given)
        return jnp.sum(output * _cotangent(output.shape)), output

    (_, output), grads = jax.jit(jax.value_and_grad(weighted, has_aux=True))(arrays)
    return {"value": output, **grads}


def _attempt(run, *args):
    """Return the result, or None and the words of the refusal."""
    try:
        return run(*args), ""
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return None, str(error)


def _compare(torch, name, seed):
    make = CALLS[name]
    d = Draw(name, seed)
    arrays, other = make(d, name) if "name" in inspect.signature(make).parameters else make(d)
    case = f"seed {seed}: { ({k: v.shape for k, v in arrays.items()}) } {other}"
    theirs, refused = _attempt(_run_theirs, torch, name, arrays, other)
    ours, words = _attempt(_run_ours, name, arrays, other)
    if theirs is None:
        assert ours is None or name in ACCEPTED_HERE, f"PyTorch says {refused}: {case}"
        return
    if ours is None:
        assert any(known in words for known in REFUSED_HERE), f"{words}: {case}"
        return
    # float64; what is zero but for rounding is as exact as the numbers that it is a difference of
    finite = [array[np.isfinite(array)] for array in (*theirs.values(), *arrays.values())]
    scale = max(np.abs(array).max(initial=0) for array in finite)
    for key, expected in theirs.items():
        np.testing.assert_allclose(
            ours[key], expected, rtol=1e-7, atol=1e-9 * scale, err_msg=f"{key}, {case}"
        )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CALLS)
def test_random_calls_equal_pytorch(name, request, x64):
    torch = pytest.importorskip("torch")
    whole = request.config.getoption("--grid") == "full"
    for seed in range(40 if whole else 1):
        _compare(torch, name, seed)
