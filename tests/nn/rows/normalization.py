"""Rows of the normalization layers."""

import numpy as np

from tests.parity import Layer, values

FAR = values(np.random.default_rng(0).standard_normal((4, 3, 5)) * 0.1 + 100)
"""A mean a thousand times the deviation: squares summed carelessly would cancel."""

BATCH = {1: [(4, 3), (2, 3, 5)], 2: [(2, 3, 4, 5)], 3: [(2, 3, 2, 3, 4)]}
SETTINGS = [
    {},
    {"momentum": None, "eps": 1e-3},
    {"affine": False, "momentum": 0.5},
    {"track_running_stats": False},
    {"bias": False},
    {"affine": False, "track_running_stats": False},
]


def _batch_norms(dims):
    shapes = BATCH[dims]
    return [
        Layer(f"BatchNorm{dims}d", (3,), setting, inputs=[shapes[i % len(shapes)]])
        for i, setting in enumerate(SETTINGS)
    ] + [Layer(f"BatchNorm{dims}d", (3,), inputs=[shape]) for shape in shapes[1:]]


INSTANCE = {
    1: [(2, 3, 5), (3, 5)],
    2: [(2, 3, 4, 5), (3, 4, 5)],
    3: [(2, 3, 2, 3, 4), (3, 2, 3, 4)],
}
TRACKING = [
    {},
    {"affine": True, "eps": 1e-3},
    {"affine": True, "track_running_stats": True, "momentum": 0.3},
    {"track_running_stats": True, "momentum": None},
    {"affine": True, "bias": False},
]


def _instance_norms(dims):
    shapes = INSTANCE[dims]
    name = f"InstanceNorm{dims}d"
    return [
        *(Layer(name, (3,), setting, inputs=[shapes[0]]) for setting in TRACKING),
        *(Layer(name, (3,), setting, inputs=[shapes[1]]) for setting in (TRACKING[0], TRACKING[2])),
    ]


ROWS = [
    *_batch_norms(1),
    *_batch_norms(2),
    *_batch_norms(3),
    *_instance_norms(1),
    *_instance_norms(2),
    *_instance_norms(3),
    Layer("InstanceNorm1d", (7,), inputs=[(2, 3, 5)], note=" any channels"),
    Layer(
        "BatchNorm1d", (3,), inputs=[FAR], relative=1e-8, note=" far"
    ),  # 1e3² of 16 digits are lost
    Layer("BatchNorm1d", (3,), inputs=[(0, 3)], train=False),
    Layer("BatchNorm2d", (3,), inputs=[(0, 3, 2, 2)]),
    Layer("InstanceNorm1d", (3,), {"track_running_stats": True}, inputs=[(2, 3, 0)]),
    *(Layer("SyncBatchNorm", (3,), setting, inputs=[(2, 3, 5)]) for setting in SETTINGS[:4]),
    Layer("SyncBatchNorm", (3,), inputs=[(4, 3)]),
    Layer("SyncBatchNorm", (3,), inputs=[(1, 3, 2, 2, 2)]),
    Layer("LayerNorm", (4,), inputs=[(3, 4)]),
    Layer("LayerNorm", ([4],), {"eps": 1e-2}, inputs=[(2, 3, 4)]),
    Layer("LayerNorm", ((3, 4),), inputs=[(2, 3, 4)]),
    Layer("LayerNorm", (4,), {"elementwise_affine": False}, inputs=[(3, 4)]),
    Layer("LayerNorm", (4,), {"bias": False}, inputs=[(4,)]),
    Layer("LayerNorm", ((2, 3, 4),), inputs=[(2, 3, 4)]),
    Layer("LayerNorm", (5,), inputs=[FAR], note=" far"),
    Layer("LayerNorm", (4,), inputs=[(0, 4)]),
    Layer("RMSNorm", (4,), inputs=[(3, 4)]),
    Layer("RMSNorm", ([3, 4],), inputs=[(2, 3, 4)]),
    Layer("RMSNorm", (4,), {"eps": 1e-2}, inputs=[(2, 3, 4)]),
    Layer("RMSNorm", (4,), {"elementwise_affine": False}, inputs=[(3, 4)]),
    Layer("RMSNorm", (4,), inputs=[(4,)]),
    Layer("RMSNorm", (4,), inputs=[values(np.zeros((2, 4)))], note=" zeros"),
    Layer("RMSNorm", (4,), inputs=[(0, 4)]),
    Layer("GroupNorm", (2, 6), inputs=[(3, 6, 4)]),
    Layer("GroupNorm", (1, 6), {"eps": 1e-2}, inputs=[(3, 6)]),
    Layer("GroupNorm", (6, 6), inputs=[(2, 6, 3, 2)]),
    Layer("GroupNorm", (3, 6), {"affine": False}, inputs=[(2, 6, 2, 2, 2)]),
    Layer("GroupNorm", (3, 6), {"bias": False}, inputs=[(2, 6, 4)]),
    Layer("GroupNorm", (3, 6), inputs=[(1, 6, 1)]),
    Layer("GroupNorm", (3, 6), inputs=[(0, 6, 4)]),
    Layer("LocalResponseNorm", (2,), inputs=[(2, 5, 3)]),
    Layer("LocalResponseNorm", (3, 0.1, 0.6, 2.0), inputs=[(2, 5, 3, 2)]),
    Layer("LocalResponseNorm", (5,), {"alpha": 1.0}, inputs=[(2, 3, 2, 2, 2)]),
    Layer("LocalResponseNorm", (1,), {"beta": 2.0}, inputs=[(2, 3, 4)]),
    Layer("LocalResponseNorm", (9, 1.0), inputs=[(1, 3, 4)]),
    Layer("LocalResponseNorm", (2,), inputs=[(0, 3, 4)]),
]

RAISES = [
    Layer("InstanceNorm1d", (3,), inputs=[(2, 3, 4, 5)]).raises(
        ValueError, "input must have shape (C, L) or (N, C, L)"
    ),
    Layer("InstanceNorm2d", (3,), inputs=[(3, 4)]).raises(
        ValueError, "input must have shape (C, H, W) or (N, C, H, W)"
    ),
    Layer("InstanceNorm3d", (3,), inputs=[(2, 3, 4)]).raises(
        ValueError, "input must have shape (C, D, H, W) or (N, C, D, H, W)"
    ),
    Layer("InstanceNorm1d", (3,), inputs=[(2, 3, 1)]).raises(
        ValueError, "each channel has one value only, whose variance is zero"
    ),
    Layer("InstanceNorm1d", (3,), {"affine": True}, inputs=[(2, 4, 5)]).raises(
        ValueError, "expected one number for each of the 4 channels of the input"
    ),
    Layer("BatchNorm1d", (3,), inputs=[(2, 3, 4, 5)]).raises(
        ValueError, "input must have shape (N, C) or (N, C, L)"
    ),
    Layer("BatchNorm2d", (3,), inputs=[(2, 3, 4)]).raises(
        ValueError, "input must have shape (N, C, H, W)"
    ),
    Layer("BatchNorm3d", (3,), inputs=[(3, 4, 5, 6)]).raises(
        ValueError, "input must have shape (N, C, D, H, W)"
    ),
    Layer("BatchNorm1d", (3,), inputs=[(4, 2)]).raises(
        ValueError, "input of shape (4, 2) has 2 channels"
    ),
    Layer("BatchNorm1d", (3,), {"track_running_stats": False}, inputs=[(1, 3)]).raises(
        ValueError, "in training each channel needs more than one value"
    ),
    Layer("BatchNorm1d", (3,), {"eps": -1.0}, inputs=[(2, 3)]).raises(
        ValueError, "eps must be zero or more"
    ),
    Layer("SyncBatchNorm", (3,), inputs=[(3,)]).raises(
        ValueError, "input must have shape (N, C, ...)"
    ),
    Layer("LayerNorm", (4,), inputs=[(4, 3)]).raises(
        ValueError, "normalized_shape (4,) must be the end of the input's shape"
    ),
    Layer("LayerNorm", ((2, 4),), inputs=[(4,)]).raises(
        ValueError, "normalized_shape (2, 4) must be the end of the input's shape"
    ),
    Layer("RMSNorm", (4,), inputs=[(4, 3)]).raises(
        ValueError, "normalized_shape (4,) must be the end of the input's shape"
    ),
    Layer("GroupNorm", (4, 6), inputs=[(2, 6)]).raises(
        ValueError, "num_channels must be divisible by num_groups"
    ),
    Layer("GroupNorm", (0, 6), inputs=[(2, 6)]).raises(
        ValueError, "num_groups must be greater than zero"
    ),
    Layer("GroupNorm", (6, 6), inputs=[(1, 6)]).raises(ValueError, "each group has one value only"),
    Layer("GroupNorm", (3, 6), inputs=[(2, 9, 4)]).raises(
        ValueError, "expected one number for each of the 9 channels of the input"
    ),
    Layer("GroupNorm", (3, 6), inputs=[(6,)]).raises(
        ValueError, "input must have shape (N, C, ...)"
    ),
    Layer("LocalResponseNorm", (2,), inputs=[(2, 3)]).raises(
        ValueError, "input must have shape (N, C, *spatial)"
    ),
    Layer("CrossMapLRN2d", (2,), inputs=[(2, 3, 4)]).raises(
        ValueError, "input must have shape (N, C, H, W)"
    ),
]
