"""Rows for losses and distances."""

import numpy as np

from tests.parity import Layer, ints, uniform


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

ROWS = [*REGRESSION, *CLASSES, *MARGINS, *DISTANCES]

RAISES = [
    Layer("MSELoss", kwargs={"reduction": "average"}, inputs=PAIR),
    Layer("SmoothL1Loss", kwargs={"beta": -1.0}, inputs=PAIR),
    Layer("HuberLoss", kwargs={"delta": 0.0}, inputs=PAIR),
    Layer("HuberLoss", kwargs={"delta": "1"}, inputs=PAIR),
    Layer("GaussianNLLLoss", inputs=[*PAIR, uniform((3, 2))]),
    Layer("GaussianNLLLoss", inputs=[*PAIR, -1.0]),
    Layer("NLLLoss", inputs=[(5, 3), ints((4,), 3)]),
    Layer("CrossEntropyLoss", kwargs={"label_smoothing": 1.1}, inputs=CLASS),
    Layer("CrossEntropyLoss", inputs=[(5, 3), (5,)]),
    Layer("CrossEntropyLoss", kwargs={"ignore_index": 0}, inputs=[(5, 3), uniform((5, 3))]),
    Layer("BCELoss", inputs=[uniform((3, 4)), uniform((3, 1))]),
    Layer("BCEWithLogitsLoss", inputs=[(3, 4), uniform((4,))]),
    Layer("MarginRankingLoss", inputs=[(5,), (5, 1), _signs((5,))]),
    Layer("CosineEmbeddingLoss", inputs=[*PAIR, _signs((3, 4))]),
    Layer("TripletMarginLoss", kwargs={"margin": 0.0}, inputs=[*PAIR, (3, 4)]),
    Layer("TripletMarginLoss", inputs=[*PAIR, (4,)]),
    Layer("TripletMarginWithDistanceLoss", kwargs={"margin": -1.0}, inputs=[*PAIR, (3, 4)]),
    Layer("MultiMarginLoss", kwargs={"p": 3}, inputs=CLASS),
    Layer("MultiMarginLoss", inputs=[(5, 3), ints((4,), 3)]),
    Layer("MultiLabelMarginLoss", inputs=[(5, 4), ints((5, 3), 4, -1)]),
    Layer("CosineSimilarity", inputs=[(4,), (4,)]),
]
