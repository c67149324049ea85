"""Rules for products of matrices and convolutions: every form of axes, groups, dilations, paddings, dtypes."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.export.operators.running import Case, failures, refusal
from tests.export.operators.values import WHOLE, array

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

EQUATIONS = (
    "i,i->",
    "ij,j->i",
    "j,ij->i",
    "ij,jk->ik",
    "ij,kj->ik",
    "ji,jk->ik",
    "ji,kj->ik",
    "abi,ji->abj",
    "abci,ij->abcj",
    "iab,ji->abj",
    "ij,akj->iak",
    "bij,bjk->bik",
    "bij,bkj->bik",
    "bhid,bhjd->bhij",
    "bihd,bjhd->bhij",
    "bhij,bjhd->bihd",
    "ab,cd->abcd",
    "a,b->ab",
    "ba,bc->bac",
    "bi,bi->b",
    "aij,aij->a",
    "ijk,jkl->il",
    "kij,lji->kl",
    "ai,bi->ab",
    ",ij->ij",
    "abij,cdij->abcd",
)

LENGTHS = {letter: 2 + number % 4 for number, letter in enumerate("abcdhijkl")}

FLOATS = (
    ("float32",),
    ("float64",),
    ("float16",),
    ("bfloat16",),
    ("bfloat16", "float32"),
    ("float16", "float32"),
)
INTEGERS = (*((dtype,) for dtype in WHOLE), ("int8", "int32"), ("uint8", "int32"))


def shapes_of(equation, lengths):
    return [
        tuple(lengths[letter] for letter in part) for part in equation.split("->")[0].split(",")
    ]


def chosen(request, choices, number):
    return (
        choices if request.config.getoption("grid") == "full" else [choices[number % len(choices)]]
    )


def product_cases(request, rng, lengths):
    for number, equation in enumerate(EQUATIONS):
        for dtype, *preferred in [
            *chosen(request, FLOATS, number),
            *chosen(request, INTEGERS, number),
        ]:
            left, right = (array(rng, shape, dtype, 1.0) for shape in shapes_of(equation, lengths))
            kind = preferred[0] if preferred else None
            yield Case(
                f"{equation} {dtype} {kind}",
                lambda x, y, e=equation, k=kind: jnp.einsum(e, x, y, preferred_element_type=k),
                (left, right),
                0.02 if dtype in ("float16", "bfloat16") else 1e-5,
                1.0,
            )


def test_products(request, rng, x64):
    assert not failures(product_cases(request, rng, LENGTHS))


@pytest.mark.parametrize("empty", "bij")
def test_products_of_no_length(empty, request, rng, x64):
    assert not failures(product_cases(request, rng, {**LENGTHS, empty: 0}))


def test_whole_numbers_wrap_in_products(rng, x64):
    cases = []
    for dtype in WHOLE:
        info = np.iinfo(dtype)
        x, y = (rng.integers(info.min, info.max, (3, 3), dtype, endpoint=True) for _ in range(2))
        cases.append(Case(dtype, lambda x, y: lax.dot(x, y), (x, y)))
    assert not failures(cases)


def test_all_dimension_numbers(request, rng):
    """Two arrays of three axes: any axes in step, any summed over."""
    cases = []
    axes = [pair for count in (0, 1, 2) for pair in itertools.permutations(range(3), count)]
    for number, (left, right) in enumerate(itertools.product(axes, axes)):
        if len(left) != len(right):
            continue
        for batch in range(len(left) + 1):
            if request.config.getoption("grid") != "full" and (number + batch) % 3:
                continue
            numbers = ((left[batch:], right[batch:]), (left[:batch], right[:batch]))
            lengths = [2, 3, 4]
            other = [5, 2, 3]
            for i, j in zip(left, right, strict=True):
                other[j] = lengths[i]
            x, y = array(rng, lengths, "float32"), array(rng, other, "float32")
            cases.append(
                Case(
                    f"{numbers}",
                    lambda x, y, n=numbers: lax.dot_general(x, y, n),
                    (x, y),
                    1e-5,
                    1.0,
                )
            )
    assert not failures(cases)


def test_layers_become_single_operators(rng):
    from funcnet.export.flat import flatten_entry
    from funcnet.export.onnx.exporting import build_graph
    from funcnet.export.operators import RULES
    from funcnet.export.specs import entry, spec

    def operators(function, *shapes):
        specs = [spec(shape, jnp.float32, f"x{i}") for i, shape in enumerate(shapes)]
        flat = flatten_entry(entry(lambda p, s, *xs: (function(*xs), s), *specs), {}, {})
        return [
            node.op_type for node in build_graph(flat, RULES).nodes if node.op_type != "Identity"
        ]

    assert operators(
        lambda x, w: lax.dot_general(x, w, (((1,), (1,)), ((), ()))), ("n", 3), (4, 3)
    ) == ["Gemm"]
    assert operators(lambda x, w: x @ w, ("n", 3, 5), (5, 4)) == ["MatMul"]
    assert operators(lambda x, w: jnp.einsum("nti,oi->nto", x, w), ("n", "t", 3), (4, 3)) == [
        "Transpose",
        "MatMul",
    ]
    assert operators(
        lambda q, k: jnp.einsum("bhid,bhjd->bhij", q, k), ("n", 2, 3, 4), ("n", 2, 3, 4)
    ) == ["Transpose", "MatMul"]
    assert operators(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), ("n", 3, 8, 8), (4, 3, 3, 3)) == [
        "Conv"
    ]


# ---- convolution ---------------------------------------------------------------------------------


def convolutions():
    """Shapes, then settings by name."""
    one = (2, 4, 9), (6, 4, 3)
    yield *one, {}
    yield *one, {"window_strides": (2,)}
    yield *one, {"padding": [(2, 1)]}
    yield *one, {"padding": [(-1, -2)]}
    yield *one, {"padding": [(3, -2)], "lhs_dilation": (2,)}
    yield *one, {"rhs_dilation": (3,)}
    yield (
        *one,
        {"lhs_dilation": (3,), "padding": [(2, 2)], "window_strides": (2,), "rhs_dilation": (2,)},
    )
    yield (2, 4, 9), (6, 2, 3), {"feature_group_count": 2}
    yield (2, 4, 9), (8, 1, 3), {"feature_group_count": 4}
    yield (4, 3, 9), (6, 3, 3), {"batch_group_count": 2}
    yield (6, 3, 9), (6, 3, 3), {"batch_group_count": 3, "padding": [(1, 1)]}
    yield (2, 4, 9), (6, 4, 9), {}
    yield (0, 4, 9), (6, 4, 3), {}
    yield (2, 4, 2), (6, 4, 3), {}
    yield (2, 3), (4, 3), {}
    two = (2, 3, 6, 7), (4, 3, 3, 2)
    yield *two, {"padding": [(1, 1), (0, 1)], "window_strides": (2, 1)}
    yield *two, {"lhs_dilation": (1, 2), "rhs_dilation": (2, 1)}
    yield (2, 6, 7, 3), (3, 2, 3, 4), {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    yield (6, 7, 2, 3), (4, 3, 2, 3), {"dimension_numbers": ("HWNC", "OHWI", "CNHW")}
    yield (
        (2, 6, 7, 4),
        (3, 2, 2, 4),
        {"dimension_numbers": ("NHWC", "HWIO", "NCHW"), "feature_group_count": 2},
    )
    yield (1, 2, 4, 5, 3), (3, 2, 2, 1, 3), {"padding": [(1, 0), (0, 0), (1, 1)]}
    yield (1, 2, 4, 5, 3), (3, 2, 2, 1, 2), {"window_strides": (2, 1, 1), "rhs_dilation": (1, 2, 1)}
    yield (1, 2, 3, 3, 3, 3), (3, 2, 2, 1, 2, 2), {}


def test_convolutions(request, rng):
    cases = []
    for number, (left, right, settings) in enumerate(convolutions()):
        for dtype, *preferred in chosen(
            request, (("float32",), ("float16",), ("bfloat16",), ("bfloat16", "float32")), number
        ):
            x, kernel = (array(rng, shape, dtype, 1.0) for shape in (left, right))
            space = len(left) - 2
            given = {"window_strides": (1,) * space, "padding": [(0, 0)] * space, **settings}
            given["preferred_element_type"] = preferred[0] if preferred else None
            cases.append(
                Case(
                    f"{dtype} {left} {right} {settings}",
                    lambda x, k, g=given: lax.conv_general_dilated(x, k, **g),
                    (x, kernel),
                    1e-5 if dtype == "float32" else 0.03,
                    1.0,
                )
            )
    assert not failures(cases)


def test_transposed_convolutions(rng):
    cases = [
        Case(
            f"{strides} {padding} {flipped}",
            lambda x, k, s=strides, p=padding, f=flipped: lax.conv_transpose(
                x, k, s, p, transpose_kernel=f
            ),
            (array(rng, (2, 5, 6, 3), "float32"), array(rng, (3, 2, 3, 3), "float32")),
            1e-5,
            1.0,
        )
        for strides in ((1, 1), (2, 3))
        for padding in ("SAME", "VALID")
        for flipped in (False, True)
    ]
    assert not failures(cases)


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_convolutions_without_a_kernel_are_refused(dtype, x64):
    x, kernel = jnp.ones((1, 2, 5), dtype), jnp.ones((3, 2, 2), dtype)
    assert dtype in refusal(lambda x, k: lax.conv(x, k, (1,), "VALID"), x, kernel)
