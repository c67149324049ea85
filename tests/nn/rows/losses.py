"""Rows for losses and distances."""

import jax
import numpy as np

from tests.parity import Layer, ints, uniform, values


def _array(nn, values):
    """Class weights for either side."""
    if nn.__name__.startswith("torch"):
        import torch

        return torch.tensor(values)
    return np.asarray(values)


def _signs(shape):
    return lambda rng: rng.choice([-1, 1], shape)


def _float_target(run):
    """PyTorch wants these targets as floats, and has no gradient for them."""
    return lambda *inputs: run(*inputs[:-1], inputs[-1].double())


def _each(name, inputs, *settings, **common):
    """A row for each reduction, each with the next of the settings, and one for each further one."""
    reductions = ("mean", "sum", "none")
    count = max(len(settings), 3)
    return [
        Layer(
            name,
            kwargs={
                **(settings[i] if i < len(settings) else {}),
                **({"reduction": reductions[i]} if 0 < i < 3 else {}),
            },
            inputs=inputs,
            train=False,
            **common,
        )
        for i in range(count)
    ]


def _weighted(name, inputs, weights, **kwargs):
    """Rows with a weight, of each reduction."""
    return [
        Layer(
            name,
            build=lambda nn, r=reduction: getattr(nn, name)(
                **{key: _array(nn, value) for key, value in weights.items()}, reduction=r, **kwargs
            ),
            inputs=inputs,
            train=False,
            note=f"-weighted-{reduction}-{kwargs}",
        )
        for reduction in ("mean", "none")
    ]


PAIR = [(3, 4), (3, 4)]
CLASS = [(5, 3), ints((5,), 3)]
IMAGE = [(2, 3, 4, 2), ints((2, 4, 2), 3)]
CHANCES = [uniform((3, 4), 0.05, 0.95), uniform((3, 4))]
WEIGHT = {"weight": [0.5, 2.0, 1.0]}

REGRESSION = [
    *_each("MSELoss", PAIR),
    *_each("MSELoss", [(), ()]),
    *_each("L1Loss", PAIR),
    *_each("L1Loss", [(2, 1, 3), (2, 1, 3)]),
    *_each("SmoothL1Loss", PAIR, {}, {"beta": 0.3}, {"beta": 2.0}, {"beta": 0.0}),
    Layer("SmoothL1Loss", inputs=[(0, 2), (0, 2)], kwargs={"reduction": "sum"}, train=False),
    *_each("HuberLoss", PAIR, {}, {"delta": 0.3}, {"delta": 2.0}, {"delta": 0.7}),
    *_each("KLDivLoss", [(3, 4), uniform((3, 4), 0.1)], {}, {}, {}, {"reduction": "batchmean"}),
    *_each("KLDivLoss", PAIR, *[{"log_target": True}] * 3),
    *_each(
        "PoissonNLLLoss", [(3, 4), uniform((3, 4), 0.0, 5.0)], {}, {"full": True}, {"full": True}
    ),
    *_each(
        "PoissonNLLLoss",
        [uniform((3, 4), 0.1, 2.0), uniform((3, 4), 0.0, 5.0)],
        *[{"log_input": False, "eps": 1e-2}] * 3,
    ),
    *_each("GaussianNLLLoss", [*PAIR, uniform((3, 4), 0.1)], {}, {"full": True}, {"eps": 0.5}),
    *_each("GaussianNLLLoss", [*PAIR, uniform((3, 1), 0.1)], {"full": True}),
    Layer("GaussianNLLLoss", inputs=[*PAIR, uniform((3,), 0.1)], train=False),
]

CLASSES = [
    *_each("NLLLoss", CLASS, {}, {"ignore_index": 1}, {"ignore_index": 0}),
    *_each("NLLLoss", IMAGE, {"ignore_index": 2}),
    Layer("NLLLoss", inputs=[(3,), ints((), 3)], train=False),
    *_weighted("NLLLoss", CLASS, WEIGHT, ignore_index=1),
    *_each("CrossEntropyLoss", CLASS, {}, {"ignore_index": 1}, {"label_smoothing": 0.2}),
    *_each("CrossEntropyLoss", IMAGE, {"ignore_index": 2, "label_smoothing": 0.1}),
    *_each("CrossEntropyLoss", [(5, 3), uniform((5, 3))], {}, {"label_smoothing": 0.2}),
    Layer("CrossEntropyLoss", inputs=[(2, 3, 4), uniform((2, 3, 4))], train=False),
    Layer("CrossEntropyLoss", inputs=[(3,), ints((), 3)], train=False),
    Layer(
        "CrossEntropyLoss", inputs=[(0, 3), ints((0,), 3)], kwargs={"reduction": "sum"}, train=False
    ),
    *_weighted("CrossEntropyLoss", CLASS, WEIGHT),
    *_weighted("CrossEntropyLoss", IMAGE, WEIGHT, ignore_index=0, label_smoothing=0.1),
    *_weighted("CrossEntropyLoss", [(5, 3), uniform((5, 3))], WEIGHT, label_smoothing=0.1),
    *_each("BCELoss", CHANCES),
    *_weighted("BCELoss", CHANCES, {"weight": [0.5, 2.0, 1.0, 3.0]}),
    Layer("BCELoss", inputs=[uniform(()), uniform(())], train=False),
    *_each("BCEWithLogitsLoss", [(3, 4), uniform((3, 4))]),
    *_weighted("BCEWithLogitsLoss", [(5, 3), uniform((5, 3))], WEIGHT),
    *_weighted(
        "BCEWithLogitsLoss", [(5, 3), uniform((5, 3))], {"pos_weight": [3.0, 0.5, 1.0], **WEIGHT}
    ),
    *_each("SoftMarginLoss", [(3, 4), _signs((3, 4))], theirs=_float_target),
    *_each("SoftMarginLoss", [(), _signs(())], theirs=_float_target),
    *_each("MultiLabelSoftMarginLoss", [(5, 3), uniform((5, 3))]),
    *_weighted("MultiLabelSoftMarginLoss", [(2, 5, 3), uniform((2, 5, 3))], WEIGHT),
    Layer("MultiLabelSoftMarginLoss", inputs=[(3,), uniform((3,))], train=False),
]

MARGINS = [
    *_each("MarginRankingLoss", [(5,), (5,), _signs((5,))], {}, {"margin": 0.5}, {"margin": -0.1}),
    *_each("MarginRankingLoss", [(), (), _signs(())], {"margin": 1.0}),
    *_each("HingeEmbeddingLoss", [(5,), _signs((5,))], {}, {"margin": 0.5}, {"margin": 2.0}),
    *_each("HingeEmbeddingLoss", [(2, 3), _signs((2, 3))]),
    *_each("CosineEmbeddingLoss", [*PAIR, _signs((3,))], {}, {"margin": 0.5}, {"margin": -0.5}),
    *_each("CosineEmbeddingLoss", [(4,), (4,), _signs(())]),
    *_each(
        "TripletMarginLoss",
        [*PAIR, (3, 4)],
        {},
        {"margin": 0.5, "p": 1.0},
        {"margin": 2.0, "p": 3.0},
        {"swap": True},
        {"eps": 1e-2},
    ),
    Layer("TripletMarginLoss", inputs=[(4,), (4,), (4,)], train=False),
    *_each("TripletMarginWithDistanceLoss", [*PAIR, (3, 4)], {}, {"margin": 0.5}, {"swap": True}),
    *_each(
        "TripletMarginWithDistanceLoss",
        [*PAIR, (3, 4)],
        *[{"distance_function": lambda x, y: ((x - y) ** 2).sum(-1)}] * 3,
    ),
    *_each("MultiMarginLoss", CLASS, {}, {"margin": 0.3}, {"p": 2}),
    *_weighted("MultiMarginLoss", CLASS, WEIGHT, p=2, margin=0.5),
    Layer("MultiMarginLoss", inputs=[(3,), ints((), 3)], train=False),
    *_each("MultiLabelMarginLoss", [(5, 4), ints((5, 4), 4, -1)]),
    *_each("MultiLabelMarginLoss", [(4,), ints((4,), 4, -1)]),
]

DISTANCES = [
    Layer("PairwiseDistance", inputs=PAIR, train=False),
    Layer("PairwiseDistance", (1.0,), inputs=PAIR, train=False),
    Layer("PairwiseDistance", (3.0,), {"keepdim": True}, inputs=PAIR, train=False),
    Layer("PairwiseDistance", (float("inf"),), inputs=PAIR, train=False),
    Layer("PairwiseDistance", kwargs={"eps": 0.1}, inputs=[(4,), (4,)], train=False),
    Layer("PairwiseDistance", inputs=[(2, 3, 4), (3, 4)], train=False),
    Layer("CosineSimilarity", inputs=PAIR, train=False),
    Layer("CosineSimilarity", (0,), inputs=PAIR, train=False),
    Layer("CosineSimilarity", (-1, 1e-2), inputs=PAIR, train=False),
    Layer("CosineSimilarity", (0,), inputs=[(4,), (4,)], train=False),
    Layer("CosineSimilarity", (2,), inputs=[(2, 3, 4), (1, 3, 4)], train=False),
    Layer("CosineSimilarity", (1, 5.0), inputs=PAIR, train=False),
]


def _log_probs(shape):
    """Normalized log-probabilities: PyTorch's gradient of CTC takes them to be so."""

    def make(rng):
        scores = rng.standard_normal(shape)
        return scores - np.log(np.exp(scores).sum(-1, keepdims=True))

    return make


def _log_softmax(scores, wanted):
    """Of either library, where it is wanted."""
    if not wanted:
        return scores
    return jax.nn.log_softmax(scores) if isinstance(scores, jax.Array) else scores.log_softmax(-1)


_LABELS = values([[1, 1, 2, 3], [2, 3, 0, 0], [4, 3, 2, 0]])
_JOINED = values([1, 1, 2, 3, 2, 3, 4, 3, 2])
_CTC = [_log_probs((9, 3, 5)), _LABELS, (7, 6, 9), (4, 2, 3)]


def _ctc(inputs, softmax=False, **kwargs):
    """Lengths stay plain tuples on both sides."""
    *arrays, steps, sizes = inputs

    def call(loss):
        return lambda scores, labels: loss(_log_softmax(scores, softmax), labels, steps, sizes)

    return Layer(
        "CTCLoss",
        (),
        kwargs,
        inputs=arrays,
        ours=call,
        theirs=call,
        train=False,
        vmap=False,
        differences=softmax,  # what PyTorch gives alone is the gradient of the two together
        note=f"-{steps}-{sizes}{' of softmax' * softmax}",
    )


SEQUENCES = [
    _ctc(_CTC),
    _ctc([(9, 3, 5), *_CTC[1:]], softmax=True),
    _ctc([_CTC[0], _JOINED, (7, 6, 9), (4, 2, 3)], reduction="none"),
    _ctc([_log_probs((3, 3, 5)), _LABELS, (3, 3, 3), (4, 2, 3)], zero_infinity=True),
    _ctc([_log_probs((9, 5)), values([3, 1]), (8,), (2,)], reduction="sum"),
    _ctc([_CTC[0], _LABELS, (9, 9, 5), (0, 1, 2)]),
    _ctc([_CTC[0], values([[1, 1], [2, 3], [0, 3]]), (9, 9, 9), (2, 2, 2)], blank=4),
]

_ADAPTIVE = (8, 20, [5, 10])

LINEAR = [
    Layer("LinearCrossEntropyLoss", (3, 5), inputs=[(7, 3), ints((7,), 5)]),
    Layer(
        "LinearCrossEntropyLoss", (3, 5), {"bias": True}, inputs=[(3,), ints((), 5)], train=False
    ),
    Layer(
        "LinearCrossEntropyLoss",
        (3, 5),
        {"bias": True, "reduction": "none", "ignore_index": 1},
        inputs=[(7, 3), ints((7,), 5)],
        train=False,
    ),
    Layer(
        "LinearCrossEntropyLoss",
        (3, 5),
        {"out_features": (2,), "bias": True, "label_smoothing": 0.1},
        inputs=[(7, 3), ints((7, 2), 5)],
        train=False,
    ),
    Layer("LinearCrossEntropyLoss", (3, 5), inputs=[(7, 3), uniform((7, 5))], train=False),
    *[
        Layer(
            "LinearCrossEntropyLoss",
            build=lambda nn, r=reduction, o=options: nn.LinearCrossEntropyLoss(
                3,
                5,
                bias=True,
                weight=_array(nn, [0.5, 2.0, 1.0, 1.5, 0.1]),
                reduction=r,
                options=nn.LinearCrossEntropyOptions(**o),
            ),
            inputs=[(7, 3), ints((7,), 5)],
            train=False,
            note=f"-{reduction}-{options}",
        )
        for reduction, options in [
            ("mean", {}),
            ("none", {"batch_chunk_size": 3}),
            ("sum", {"chunking_method": "aspect_ratio"}),
        ]
    ],
    Layer("AdaptiveLogSoftmaxWithLoss", _ADAPTIVE, inputs=[(6, 8), ints((6,), 20)]),
    Layer("AdaptiveLogSoftmaxWithLoss", _ADAPTIVE, inputs=[(8,), values(7)], train=False),
    Layer(
        "AdaptiveLogSoftmaxWithLoss",
        _ADAPTIVE,
        {"head_bias": True},
        inputs=[(6, 8), values([0, 4, 5, 9, 10, 19])],
        train=False,
    ),
    Layer(
        "AdaptiveLogSoftmaxWithLoss", (8, 9, [2], 2.0), inputs=[(6, 8), ints((6,), 9)], train=False
    ),
    Layer(
        "AdaptiveLogSoftmaxWithLoss",
        (8, 9, (1, 3, 8), 1.5),
        inputs=[(6, 8), ints((6,), 9)],
        train=False,
    ),
    Layer(
        "AdaptiveLogSoftmaxWithLoss",
        _ADAPTIVE,
        inputs=[(6, 8)],
        ours=lambda layer: lambda x: (layer.log_prob(x), layer.predict(x)),
        theirs=lambda layer: lambda x: (layer.log_prob(x), layer.predict(x)),
        train=False,
        note="-all",
    ),
]

ROWS = [*REGRESSION, *CLASSES, *MARGINS, *SEQUENCES, *LINEAR, *DISTANCES]

RAISES = [
    Layer("MSELoss", kwargs={"reduction": "average"}, inputs=PAIR).raises(
        ValueError, "reduction must be one of 'none', 'mean', 'sum'"
    ),
    Layer("SmoothL1Loss", kwargs={"beta": -1.0}, inputs=PAIR).raises(
        ValueError, "beta must not be negative"
    ),
    Layer("HuberLoss", kwargs={"delta": 0.0}, inputs=PAIR).raises(
        ValueError, "delta must be greater than zero"
    ),
    Layer("HuberLoss", kwargs={"delta": "1"}, inputs=PAIR).raises(
        TypeError, "delta must be a number"
    ),
    Layer("GaussianNLLLoss", inputs=[*PAIR, uniform((3, 2))]).raises(
        ValueError, "var must have the shape (3, 4) of input"
    ),
    Layer("GaussianNLLLoss", inputs=[*PAIR, -1.0]).raises(ValueError, "var must not be negative"),
    Layer("NLLLoss", inputs=[(5, 3), ints((4,), 3)]).raises(
        ValueError, "target must have shape (5,) for scores of shape (5, 3)"
    ),
    Layer("CrossEntropyLoss", kwargs={"label_smoothing": 1.1}, inputs=CLASS).raises(
        ValueError, "label_smoothing is a probability and must lie in [0, 1]"
    ),
    Layer("CrossEntropyLoss", inputs=[(5, 3), (5,)]).raises(
        TypeError, "a target of class indices must hold integers"
    ),
    Layer("CrossEntropyLoss", inputs=[(2, 3), values([0, 3])]).raises(
        IndexError, "target must lie in [0, 2]"
    ),
    Layer("NLLLoss", inputs=[(2, 3), values([0, -1])]).raises(
        IndexError, "target must lie in [0, 2]"
    ),
    Layer("MultiMarginLoss", inputs=[(2, 3), values([0, 3])]).raises(
        IndexError, "target must lie in [0, 2]"
    ),
    Layer("AdaptiveLogSoftmaxWithLoss", _ADAPTIVE, inputs=[(2, 8), values([0, 20])]).raises(
        IndexError, "target must lie in [0, 19]"
    ),
    Layer("CrossEntropyLoss", kwargs={"ignore_index": 0}, inputs=[(5, 3), uniform((5, 3))]).raises(
        ValueError, "ignore_index needs class indices, not probabilities"
    ),
    Layer("BCELoss", inputs=[uniform((3, 4)), uniform((3, 1))]).raises(
        ValueError, "binary_cross_entropy compares element by element"
    ),
    Layer("BCEWithLogitsLoss", inputs=[(3, 4), uniform((4,))]).raises(
        ValueError, "binary_cross_entropy_with_logits compares element by element"
    ),
    Layer("MarginRankingLoss", inputs=[(5,), (5, 1), _signs((5,))]).raises(
        ValueError, "margin_ranking_loss compares element by element"
    ),
    Layer("CosineEmbeddingLoss", inputs=[*PAIR, _signs((3, 4))]).raises(
        ValueError, "cosine_embedding_loss takes inputs (N, D) with a target"
    ),
    Layer("TripletMarginLoss", kwargs={"margin": 0.0}, inputs=[*PAIR, (3, 4)]).raises(
        ValueError, "margin must be greater than zero"
    ),
    Layer("TripletMarginLoss", inputs=[*PAIR, (4,)]).raises(
        ValueError, "they must have as many axes"
    ),
    Layer("TripletMarginWithDistanceLoss", kwargs={"margin": -1.0}, inputs=[*PAIR, (3, 4)]).raises(
        ValueError, "margin must be greater than zero"
    ),
    Layer("MultiMarginLoss", kwargs={"p": 3}, inputs=CLASS).raises(
        ValueError, "p must be one of 1, 2"
    ),
    Layer("MultiMarginLoss", inputs=[(5, 3), ints((4,), 3)]).raises(
        ValueError, "multi_margin_loss takes scores (N, C) with a target (N,)"
    ),
    Layer("MultiLabelMarginLoss", inputs=[(5, 4), ints((5, 3), 4, -1)]).raises(
        ValueError, "multilabel_margin_loss takes scores and a target of one"
    ),
    Layer("CosineSimilarity", inputs=[(4,), (4,)]).raises(
        ValueError, "axis 1 is out of bounds for array of dimension 1"
    ),
    _ctc([_CTC[0], _LABELS, (7, 6, 10), (4, 2, 3)]).raises(
        ValueError, "input_lengths must lie in [0, 9]"
    ),
    _ctc([_CTC[0], _LABELS, (7, 6), (4, 2, 3)]).raises(
        ValueError, "input_lengths must have shape (3,)"
    ),
    _ctc([_CTC[0], _LABELS, (7, 6, 9), (5, 2, 3)]).raises(
        ValueError, "target_lengths must lie in [0, 4]"
    ),
    _ctc(_CTC, blank=5).raises(ValueError, "blank must be one of 5 labels"),
    Layer("LinearCrossEntropyLoss", (3, 5), inputs=[(7, 4), ints((7,), 5)]).raises(
        ValueError, "linear_weight must have shape (C, *, 4) for an input of"
    ),
    Layer(
        "LinearCrossEntropyLoss", (3, 5), {"label_smoothing": 2.0}, inputs=[(7, 3), ints((7,), 5)]
    ).raises(ValueError, "label_smoothing is a probability and must lie in [0, 1]"),
    Layer("AdaptiveLogSoftmaxWithLoss", (8, 20, []), inputs=[(6, 8), ints((6,), 20)]).raises(
        ValueError, "cutoffs must be rising integers between 1 and 19"
    ),
    Layer("AdaptiveLogSoftmaxWithLoss", (8, 20, [5, 5]), inputs=[(6, 8), ints((6,), 20)]).raises(
        ValueError, "cutoffs must be rising integers between 1 and 19"
    ),
    Layer("AdaptiveLogSoftmaxWithLoss", (8, 20, [5, 20]), inputs=[(6, 8), ints((6,), 20)]).raises(
        ValueError, "cutoffs must be rising integers between 1 and 19"
    ),
    Layer("AdaptiveLogSoftmaxWithLoss", _ADAPTIVE, inputs=[(6, 8), ints((5,), 20)]).raises(
        ValueError, "input (N, in_features) goes with a target (N,)"
    ),
]
