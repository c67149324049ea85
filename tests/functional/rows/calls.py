"""One call of every public function of ``F``: which arguments are data, which are parameters.

Data decide the dtype of a result, parameters and statistics do not (`funcnet.core.dtypes`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import functional as F


@dataclass(frozen=True)
class Call:
    """How to call a function: the shapes of its data and parameters, and everything else as it is."""

    data: dict[str, tuple[int, ...]]
    params: dict[str, tuple[int, ...]] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    arrange: Callable[[dict[str, Any]], dict[str, Any]] = lambda arguments: arguments
    """Puts arrays where the function takes them, if that is not one a keyword."""
    result: Callable[[Any], Any] = lambda result: result
    """The part of the result that has the dtype of the data."""

    def arrays(self, low: float = 0.1, high: float = 0.9) -> dict[str, np.ndarray]:
        """Draw data and parameters; what lies between 0 and 1 suits every function."""
        rng = np.random.default_rng(0)
        shapes = {**self.data, **self.params}
        return {name: rng.uniform(low, high, shape) for name, shape in shapes.items()}

    def run(self, name: str, arrays: dict[str, Any]) -> Any:
        """Call the function ``F.name``."""
        return self.result(getattr(F, name)(**self.arrange({**arrays, **self.other})))


POINTWISE = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "normalize",
    "pdist",
]
ERRORS = ["gaussian_nll_loss", "huber_loss", "kl_div", "l1_loss", "mse_loss", "smooth_l1_loss"]
LABELLED = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "hinge_embedding_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "soft_margin_loss",
]
KEY = {"key": jax.random.key(0)}
CHANNELS = {"weight": (6,), "bias": (6,)}
RUNNING = {"running_mean": (6,), "running_var": (6,)}
IMAGE = {1: (2, 6, 8), 2: (2, 6, 8, 8), 3: (2, 6, 8, 8, 8)}
CLASSES = jnp.array([0, 3, 1, 2])
BYTE = {"quant_min": -128, "quant_max": 127}
SEGMENTS = jnp.array([[1, 1, 2, 0], [1, 2, 2, 2]])


def _recurrent(gates: int, *states: str, other: Any = None) -> Call:
    """A cell: weights in one tuple, and states in another if there are two."""

    def arrange(given: dict[str, Any]) -> dict[str, Any]:
        weights = F.RecurrentWeights(*(given.pop(name) for name in ("ih", "hh", "b_ih", "b_hh")))
        parts = tuple(given.pop(name) for name in states)
        hx = parts if len(parts) > 1 or "mode" in given else parts[0]
        return {**given, "hx": hx, "weights": [weights] if "mode" in given else weights}

    rows = gates * 5
    lead = (1, 4) if other else (4,)
    return Call(
        {"input": (7, 4, 3) if other else (4, 3), **dict.fromkeys(states, (*lead, 5))},
        {"ih": (rows, 3), "hh": (rows, 5), "b_ih": (rows,), "b_hh": (rows,)},
        other or {},
        arrange,
    )


def _convolution(dims: int) -> Call:
    return Call({"input": IMAGE[dims]}, {"weight": (6, 6, *[3] * dims), "bias": (6,)})


def _pool(dims: int, **other: Any) -> Call:
    return Call({"input": IMAGE[dims]}, other=other or {"kernel_size": 2})


def _unpool(dims: int) -> Call:
    indices = jnp.broadcast_to(jnp.arange(8**dims).reshape([8] * dims), IMAGE[dims])
    return Call({"input": IMAGE[dims]}, other={"indices": indices, "kernel_size": 2})


CALLS = {
    **{name: Call({"input": (4, 6)}) for name in POINTWISE},
    **{name: Call({"input": (4, 6), "target": (4, 6)}) for name in ERRORS},
    **{name: Call({"input": (4, 6), "target": (4, 6)}) for name in LABELLED},
    "gaussian_nll_loss": Call({"input": (4, 6), "target": (4, 6), "var": (4, 6)}),
    "threshold": Call({"input": (4, 6)}, other={"threshold": 0.5, "value": 1.0}),
    "prelu": Call({"input": (4, 6)}, {"weight": (6,)}),
    "gumbel_softmax": Call({"logits": (4, 6)}, other=KEY),
    **{
        name: Call({"input": (4, 6, 3)}, other={"training": True, **KEY})
        for name in ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "feature_alpha_dropout"]
    },
    "dropout3d": Call({"input": (4, 6, 3, 2, 2)}, other=KEY),
    "cosine_similarity": Call({"x1": (4, 6), "x2": (4, 6)}),
    "pairwise_distance": Call({"x1": (4, 6), "x2": (4, 6)}),
    "cosine_embedding_loss": Call(
        {"input1": (4, 6), "input2": (4, 6)}, other={"target": jnp.array([1, -1, 1, -1])}
    ),
    "margin_ranking_loss": Call({"input1": (4, 6), "input2": (4, 6), "target": (4, 6)}),
    "triplet_margin_loss": Call({"anchor": (4, 6), "positive": (4, 6), "negative": (4, 6)}),
    "triplet_margin_with_distance_loss": Call(
        {"anchor": (4, 6), "positive": (4, 6), "negative": (4, 6)}
    ),
    "cross_entropy": Call({"input": (4, 6)}, {"weight": (6,)}, {"target": CLASSES}),
    "nll_loss": Call({"input": (4, 6)}, {"weight": (6,)}, {"target": CLASSES}),
    "multi_margin_loss": Call({"input": (4, 6)}, {"weight": (6,)}, {"target": CLASSES}),
    "multilabel_margin_loss": Call(
        {"input": (4, 6)}, other={"target": jnp.array([[0, 2, -1, 1, 1, 1]] * 4)}
    ),
    "linear_cross_entropy": Call(
        {"input": (4, 3)}, {"linear_weight": (6, 3), "linear_bias": (6,)}, {"target": CLASSES}
    ),
    "ctc_loss": Call(
        {"log_probs": (7, 2, 5)},
        other={
            "targets": jnp.array([[1, 2], [3, 3]]),
            "input_lengths": [7, 6],
            "target_lengths": [2, 1],
        },
    ),
    "batch_norm": Call({"input": (4, 6, 3)}, {**CHANNELS, **RUNNING}, {"training": True}),
    "batch_norm_update": Call({"input": (4, 6, 3)}, {**CHANNELS, **RUNNING}, result=lambda r: r[0]),
    "instance_norm": Call({"input": (4, 6, 3)}, {**CHANNELS, **RUNNING}),
    "instance_norm_update": Call(
        {"input": (4, 6, 3)}, {**CHANNELS, **RUNNING}, result=lambda r: r[0]
    ),
    "group_norm": Call({"input": (4, 6, 3)}, CHANNELS, {"num_groups": 2}),
    "layer_norm": Call({"input": (4, 6)}, CHANNELS, {"normalized_shape": 6}),
    "rms_norm": Call({"input": (4, 6)}, {"weight": (6,)}, {"normalized_shape": 6}),
    "local_response_norm": Call({"input": (4, 6, 3)}, other={"size": 3}),
    "cross_map_lrn2d": Call({"input": (4, 6, 3, 3)}, other={"size": 3}),
    "rnn_cell": _recurrent(1, "hidden"),
    "gru_cell": _recurrent(3, "hidden"),
    "lstm_cell": _recurrent(4, "hidden", "cell"),
    "recurrent": _recurrent(4, "hidden", "cell", other={"mode": "LSTM"}),
    "linear": Call({"input": (4, 3)}, {"weight": (6, 3), "bias": (6,)}),
    "bilinear": Call({"input1": (4, 3), "input2": (4, 2)}, {"weight": (6, 3, 2), "bias": (6,)}),
    **{f"conv{d}d": _convolution(d) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _convolution(d) for d in (1, 2, 3)},
    **{f"{kind}_pool{d}d": _pool(d) for kind in ("avg", "max") for d in (1, 2, 3)},
    **{f"lp_pool{d}d": _pool(d, norm_type=2, kernel_size=2) for d in (1, 2, 3)},
    **{
        f"adaptive_{kind}_pool{d}d": _pool(d, output_size=3)
        for kind in ("avg", "max")
        for d in (1, 2, 3)
    },
    **{f"fractional_max_pool{d}d": _pool(d, kernel_size=2, output_size=3, **KEY) for d in (2, 3)},
    **{f"max_unpool{d}d": _unpool(d) for d in (1, 2, 3)},
    "affine_grid": Call({"theta": (2, 2, 3)}, other={"size": (2, 6, 5, 5), "align_corners": False}),
    "grid_sample": Call({"input": IMAGE[2], "grid": (2, 5, 5, 2)}, other={"align_corners": False}),
    "interpolate": _pool(2, scale_factor=2, mode="bilinear", align_corners=False),
    "upsample": _pool(2, scale_factor=2),
    "upsample_bilinear": _pool(2, scale_factor=2),
    "upsample_nearest": _pool(2, scale_factor=2),
    "unfold": _pool(2),
    "fold": Call(
        {"input": (2, 24, 16)}, other={"output_size": (8, 8), "kernel_size": 2, "stride": 2}
    ),
    "pad": _pool(1, pad=(1, 2)),
    "channel_shuffle": _pool(2, groups=3),
    "pixel_shuffle": Call({"input": (2, 8, 4, 4)}, other={"upscale_factor": 2}),
    "pixel_unshuffle": _pool(2, downscale_factor=2),
    "scaled_dot_product_attention": Call(
        {"query": (2, 3, 5, 4), "key": (2, 3, 7, 4), "value": (2, 3, 7, 4)}
    ),
    "flex_attention": Call({"query": (2, 3, 5, 4), "key": (2, 3, 7, 4), "value": (2, 3, 7, 4)}),
    "multi_head_attention_forward": Call(
        {"query": (5, 2, 8), "key": (5, 2, 8), "value": (5, 2, 8)},
        {
            "in_proj_weight": (24, 8),
            "in_proj_bias": (24,),
            "out_proj_weight": (8, 8),
            "out_proj_bias": (8,),
        },
        {
            "embed_dim_to_check": 8,
            "num_heads": 2,
            "bias_k": None,
            "bias_v": None,
            "add_zero_attn": False,
            "dropout_p": 0.0,
        },
    ),
    "rotary_embedding": Call({"input": (2, 5, 4)}),
    "embedding_bag": Call({"weight": (5, 3)}, other={"input": jnp.array([[0, 1], [2, 4]])}),
    "embedding": Call({"weight": (5, 3)}, other={"input": jnp.array([0, 4])}),
    "embedding_renorm": Call(
        {"weight": (5, 3)}, other={"input": jnp.array([0, 4]), "max_norm": 1.0}
    ),
    "route_tokens": Call(
        {"logits": (6, 4)}, other={"top_k": 2, "capacity": 4}, result=lambda r: r.combine
    ),
    **{
        f"drop_block{d}d": Call({"input": IMAGE[d]}, other={"p": 0.1, "block_size": 3, **KEY})
        for d in (1, 2, 3)
    },
    "stochastic_depth": Call({"input": (4, 6)}, other={"p": 0.1, "mode": "row", **KEY}),
    "orthogonal_penalty": Call({"weight": (4, 6)}),
    "spectral_penalty": Call({"weight": (4, 6)}),
    "fake_quantize_per_tensor_affine": Call(
        {"input": (4, 6)}, other={"scale": 0.1, "zero_point": 0, **BYTE}
    ),
    "fake_quantize_per_channel_affine": Call(
        {"input": (4, 6)},
        {"scale": (4,)},
        {"zero_point": jnp.zeros(4, jnp.int32), "axis": 0, **BYTE},
    ),
    "float8_linear": Call({"input": (4, 6)}, {"weight": (5, 6), "bias": (5,)}),
    "integer_linear": Call(
        {"input": (4, 6)}, {"scales": (5,), "bias": (5,)}, {"values": jnp.ones((5, 6), jnp.int8)}
    ),
    **{
        f"segment_{what}": Call(
            {"values": (2, 4, 6)}, other={"segment_ids": SEGMENTS, "num_segments": 2}
        )
        for what in ("mean", "sum", "take")
    },
}

WITHOUT = {
    "AuxOutput": "a tuple",
    "AuxRequest": "settings",
    "BlockMask": "lists of blocks",
    **{
        f"{kind}_mask": "a function of positions"
        for kind in ("causal", "dilated", "document", "noop", "prefix", "sliding_window")
    },
    **{
        f"{kind}_score": "makes a function of positions"
        for kind in ("alibi", "relative_bias", "soft_cap")
    },
    **dict.fromkeys(("and_masks", "or_masks"), "makes a function of positions"),
    **dict.fromkeys(("create_block_mask", "create_mask"), "makes booleans of positions"),
    "one_hot": "makes integers of integers",
    **dict.fromkeys(("quantize_linear", "quantize_nf4", "pack_int4", "unpack_int4"), "makes codes"),
    **dict.fromkeys(("dequantize_linear", "dequantize_nf4"), "reads codes, in the dtype asked for"),
    **dict.fromkeys(("code_range", "nf4_values"), "numbers of a number of bits"),
    "scale_and_zero_point": "in the dtype asked for",
    "integer_matmul": "makes integers of integers",
    "float8_matmul": "multiplies 8-bit floats, in the dtype asked for",
    "to_float8": "makes 8-bit floats and a scale in 32 bits",
    "label_smoothing": "makes a function of a function",
    "smooth_labels": "makes probabilities of integers, in the dtype asked for",
    **dict.fromkeys(
        (
            "length_mask",
            "segment_mask",
            "segment_lengths",
            "segment_positions",
            "next_token_targets",
        ),
        "integers or booleans of integers",
    ),
    "expert_capacity": "a number of numbers",
    "rotary_frequencies": "a table of numbers, in NumPy",
    "LinearCrossEntropyOptions": "settings",
    "RecurrentWeights": "a tuple",
    "Routing": "a tuple",
    "RoutingReport": "a tuple",
}

WHOLE_NUMBERS = {
    "relu": "keeps or replaces elements whole, as PyTorch does",
    "relu6": "keeps or replaces elements whole, as PyTorch does",
    "threshold": "keeps or replaces elements whole, as PyTorch does",
    **{
        f"{kind}_pool{d}d": "chooses elements"
        for kind in ("max", "adaptive_max")
        for d in (1, 2, 3)
    },
    **{f"fractional_max_pool{d}d": "chooses elements" for d in (2, 3)},
    **{f"avg_pool{d}d": "rounds towards zero, as PyTorch does" for d in (1, 2, 3)},
    "pad": "moves elements",
    "fold": "moves elements and sums them, which integers do exactly",
    "unfold": "moves elements",
    "channel_shuffle": "moves elements",
    "pixel_shuffle": "moves elements",
    "pixel_unshuffle": "moves elements",
    "upsample": "repeats elements (nearest, by default)",
    "upsample_nearest": "repeats elements",
    "embedding": "looks rows up",
    "segment_take": "looks rows up",
}
"""Functions whose meaning includes integers, and why."""

LABELS = dict.fromkeys((*LABELLED, "margin_ranking_loss"), "target")
"""Data that are labels, and so may be integers or booleans: signs, yes or no, counts."""
