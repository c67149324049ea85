"""Rows of the spatial functions that say more than their layers."""

from tests.parity import Function, uniform, values

IMAGE = (2, 2, 4, 5)
VOLUME = (1, 2, 3, 4, 3)


def grid(*shape: int, reach: float = 1.5):
    return uniform(shape, -reach, reach)


PAD = [
    Function("pad", ((1, 2),), inputs=[(3, 4)]),
    Function("pad", ((1, 2, 0, 1, 2, 0), "constant", 3.0), inputs=[(2, 3, 4)]),
    Function("pad", ((1, -2, -1, 3),), inputs=[(3, 4)]),
    Function("pad", ((2, 1), "reflect"), inputs=[(2, 4)]),
    Function("pad", ((3, -1, -2, 1), "reflect"), inputs=[IMAGE]),
    Function("pad", ((3, -1, -2, 6), "replicate"), inputs=[IMAGE]),
    Function("pad", ((2, 5, -1, 2), "circular"), inputs=[IMAGE]),
    Function("pad", ((1, 1, 2, 0, 0, 2), "reflect"), inputs=[(1, 2, 3, 4, 3)]),
    Function("pad", ((),), inputs=[(2, 3)]),
]

RESIZE = [
    Function("interpolate", ((2, 3), None, "bilinear", None, None, True), inputs=[(1, 2, 7, 8)]),
    Function("interpolate", ((9, 3), None, "bicubic", None, None, True), inputs=[(1, 2, 5, 8)]),
    Function("interpolate", ((3, 3), None, "bicubic", True, None, True), inputs=[(1, 2, 8, 5)]),
    Function("interpolate", ((3, 4), None, "lanczos", None, None, True), inputs=[(1, 2, 9, 8)]),
    Function("interpolate", (None, 0.4, "bilinear", None, None, True), inputs=[(2, 2, 8, 9)]),
    Function("interpolate", (None, (0.7, 1.9), "bicubic"), inputs=[IMAGE]),
    Function("interpolate", (None, 1.9, "bicubic", None, True), inputs=[IMAGE]),
    Function("interpolate", (None, 2.5), inputs=[(2, 2, 5)]),
    Function("interpolate", ((3, 7, 2),), {"mode": "nearest-exact"}, inputs=[VOLUME]),
    Function("interpolate", ((2, 3, 5), None, "area"), inputs=[VOLUME]),
    Function("interpolate", (4, None, "linear"), inputs=[(2, 2, 9)]),
    Function("interpolate", ((1, 6), None, "bilinear", True), inputs=[IMAGE]),
]

GRID = [
    Function("grid_sample", (), {"align_corners": False}, inputs=[IMAGE, grid(2, 3, 2, 2)]),
    Function("grid_sample", ("bilinear", "border", True), inputs=[IMAGE, grid(2, 3, 2, 2)]),
    Function(
        "grid_sample", ("bilinear", "reflection", False), inputs=[IMAGE, grid(2, 3, 2, 2, reach=4)]
    ),
    Function(
        "grid_sample",
        ("bilinear", "reflection", True),
        inputs=[(1, 2, 1, 4), grid(1, 3, 2, 2, reach=4)],
    ),
    Function("grid_sample", ("nearest", "zeros", True), inputs=[IMAGE, grid(2, 3, 2, 2)]),
    Function("grid_sample", ("nearest", "border", False), inputs=[IMAGE, grid(2, 3, 2, 2)]),
    Function("grid_sample", ("bicubic", "zeros", False), inputs=[IMAGE, grid(2, 3, 2, 2)]),
    Function(
        "grid_sample", ("bicubic", "reflection", True), inputs=[IMAGE, grid(2, 3, 2, 2, reach=3)]
    ),
    Function("grid_sample", ("bilinear", "zeros", True), inputs=[VOLUME, grid(1, 2, 2, 2, 3)]),
    Function(
        "grid_sample",
        ("nearest", "reflection", False),
        inputs=[VOLUME, grid(1, 2, 2, 2, 3, reach=3)],
    ),
    Function(
        "grid_sample",
        ("bilinear", "zeros", True),
        inputs=[IMAGE, values([[[[-1.0, 1.0], [1.0, 1.0]]]] * 2)],
    ),
    Function("affine_grid", ([2, 3, 4, 5], False), inputs=[(2, 2, 3)]),
    Function("affine_grid", ([2, 3, 4, 5], True), inputs=[(2, 2, 3)]),
    Function("affine_grid", ([1, 3, 2, 1, 5], False), inputs=[(1, 3, 4)]),
    Function("affine_grid", ([2, 1, 3, 2, 4], True), inputs=[(2, 3, 4)]),
]

ROWS = PAD + RESIZE + GRID

RAISES = [
    Function("pad", ((1,),), inputs=[(3, 4)]).raises(
        ValueError, "pad must hold two numbers for each padded axis"
    ),
    Function("pad", ((1, 1, 1, 1, 1, 1),), inputs=[(3, 4)]).raises(
        ValueError, "pad must hold two numbers for each padded axis"
    ),
    Function("pad", ((1, 1), "mirror"), inputs=[(3, 4)]).raises(
        ValueError, "mode must be one of 'constant', 'reflect', 'replicate'"
    ),
    Function("pad", ((1, 1), "reflect", 2.0), inputs=[(3, 4)]).raises(
        ValueError, "padding mode 'reflect' takes no value"
    ),
    Function("pad", ((-3, -2),), inputs=[(3, 4)]).raises(
        ValueError, "padding (-3, -2) leaves nothing of an axis of 4 elements"
    ),
    Function("interpolate", ((2, 3), None, "nearest", None, None, True), inputs=[IMAGE]).raises(
        ValueError, "antialias has no meaning in mode 'nearest': only bilinear"
    ),
    Function("interpolate", ((2, 3), None, "lanczos"), inputs=[IMAGE]).raises(
        ValueError, "mode 'lanczos' needs antialias=True and align_corners=False"
    ),
    Function("interpolate", ((2, 3), None, "lanczos", True, None, True), inputs=[IMAGE]).raises(
        ValueError, "mode 'lanczos' needs antialias=True and align_corners=False"
    ),
    Function("interpolate", ((2, 3), None, "bilinear", None, True), inputs=[IMAGE]).raises(
        ValueError, "recompute_scale_factor needs a scale_factor, not a size"
    ),
    Function("interpolate", (None, (2.0,), "bilinear"), inputs=[IMAGE]).raises(
        ValueError, "scale_factor must be one number or 2"
    ),
    Function("interpolate", ((2.0, 3.0), None, "bilinear"), inputs=[IMAGE]).raises(
        TypeError, "size must be a whole number or 2 of them"
    ),
    Function("interpolate", ((0, 3), None, "bilinear"), inputs=[IMAGE]).raises(
        ValueError, "the output's size must be greater than zero"
    ),
    Function("grid_sample", ("linear", "zeros", True), inputs=[IMAGE, grid(2, 3, 2, 2)]).raises(
        ValueError, "mode must be one of 'bilinear', 'nearest', 'bicubic'"
    ),
    Function("grid_sample", ("bilinear", "wrap", True), inputs=[IMAGE, grid(2, 3, 2, 2)]).raises(
        ValueError, "padding_mode must be one of 'zeros', 'border', 'reflection'"
    ),
    Function(
        "grid_sample", ("bicubic", "zeros", True), inputs=[VOLUME, grid(1, 2, 2, 2, 3)]
    ).raises(ValueError, "grid_sample: mode 'bicubic' takes an input (N, C, H, W)"),
    Function("grid_sample", ("bilinear", "zeros", True), inputs=[IMAGE, grid(1, 3, 2, 2)]).raises(
        ValueError, "grid_sample: grid must have shape (N, H_out, W_out, 2) with"
    ),
    Function("grid_sample", ("bilinear", "zeros", True), inputs=[IMAGE, grid(2, 3, 2, 3)]).raises(
        ValueError, "grid_sample: grid must have shape (N, H_out, W_out, 2) with"
    ),
    Function("affine_grid", ([2, 3, 4, 5], True), inputs=[(2, 3, 4)]).raises(
        ValueError, "theta must have shape (2, 2, 3)"
    ),
    Function("affine_grid", ([2, 3, 0, 5], False), inputs=[(2, 2, 3)]).raises(
        ValueError, "size must be positive"
    ),
    Function(
        "fractional_max_pool3d",
        (2, 5),
        inputs=[(2, 6, 6, 6)],
        call={"_random_samples": uniform((1, 2, 3))},
    ).raises(ValueError, "kernel_size + output_size - 0 must not exceed the input's sizes"),
]
