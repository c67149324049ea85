"""No public class of torch.nn is forgotten: each has at least six rows, or a written reason."""

import collections
import importlib
import inspect
from pathlib import Path

import pytest

import funcnet as fn
from tests.parity import Layer, Row, check, rows

ELEMENTWISE = {
    "CELU": {"alpha": 0.5},  # PyTorch rounds 1 / alpha to float32 in the gradient
    "ELU": {"alpha": 1.3},
    "GELU": {},
    "Hardshrink": {"lambd": 0.3},
    "Hardsigmoid": {},
    "Hardswish": {},
    "Hardtanh": {"min_val": -0.5, "max_val": 0.8},
    "Identity": {},
    "LeakyReLU": {"negative_slope": 0.2},
    "LogSigmoid": {},
    "Mish": {},
    "RReLU": {},
    "ReLU": {},
    "ReLU6": {},
    "SELU": {},
    "SiLU": {},
    "Sigmoid": {},
    "Softplus": {"beta": 2.0, "threshold": 3.0},
    "Softshrink": {"lambd": 0.4},
    "Softsign": {},
    "Tanh": {},
    "Tanhshrink": {},
    "Threshold": {"threshold": 0.1, "value": -1.0},
    "Dropout": {},
    "AlphaDropout": {},
    "FeatureAlphaDropout": {},
}
SHAPES = [(), (1,), (0, 3), (2, 1, 3), (2, 3, 1, 2)]

ROWS = [
    Layer(name, (), settings, inputs=[shape], train=False, dtypes=False, vmap=False)
    for name, settings in ELEMENTWISE.items()
    for shape in (SHAPES if "Feature" not in name else SHAPES[3:])
] + [
    # PyTorch's gradient, which is ours, is not quite the derivative: it forgets a quirk of the forward pass
    Layer("CrossMapLRN2d", (3,), inputs=[(2, 5, 4, 4)], differences=False),
    Layer("CrossMapLRN2d", (5, 2e-4, 0.6, 2.0), inputs=[(2, 5, 3, 2)]),
    Layer("CrossMapLRN2d", (2,), inputs=[(1, 2, 3, 3)]),
    Layer("CrossMapLRN2d", (9,), {"alpha": 0.1}, inputs=[(2, 3, 2, 2)]),
    Layer("CrossMapLRN2d", (3,), {"beta": 0.5, "k": 0.5}, inputs=[(2, 1, 2, 2)]),
    Layer("Softmax2d", inputs=[(1, 1, 1, 1)]),
    Layer("Softmax2d", inputs=[(2, 5, 1, 3)]),
    Layer("Softmax2d", inputs=[(5, 2, 2)]),
    Layer("Dropout2d", inputs=[(0, 3, 2, 2)], train=False),
]


@pytest.mark.parametrize("row", rows(ROWS), ids=str)
def test_row(row):
    check(row)


LAZY = (
    "completed from an example: tests/nn/convolution/test_lazy.py, test_blocks.py, test_layers.py"
)
REASONS = {
    "Buffer": "a specification here, PyTorch's tensor subclass there: tests/module",
    "Parameter": "a specification here, PyTorch's tensor subclass there: tests/module",
    "Module": "the base class: tests/module",
    "Container": "deprecated by PyTorch in favour of Module; not carried over",
    "NLLLoss2d": "deprecated by PyTorch in favour of NLLLoss; not carried over",
    "DataParallel": "splits a batch over devices, which belong to the arrays: jax.sharding",
    "UninitializedParameter": "a size of None in a Parameter's shape",
    "UninitializedBuffer": "a size of None in a Buffer's shape",
    "RNNBase": "the base of RNN, LSTM and GRU, which have rows",
    "RNNCellBase": "the base of the cells, which have rows",
    "LinearCrossEntropyOptions": "settings of LinearCrossEntropyLoss, which has rows",
    "ModuleDict": "a container, through the layers it holds: tests/nn/containers/test_containers.py",
    "ModuleList": "a container, through the layers it holds: tests/nn/containers/test_containers.py",
    "ParameterDict": "a container: tests/nn/containers/test_containers.py",
    "ParameterList": "a container: tests/nn/containers/test_containers.py",
    **{
        f"Lazy{name}": LAZY
        for name in (
            "Linear",
            *(f"BatchNorm{d}d" for d in (1, 2, 3)),
            *(f"InstanceNorm{d}d" for d in (1, 2, 3)),
            *(f"Conv{d}d" for d in (1, 2, 3)),
            *(f"ConvTranspose{d}d" for d in (1, 2, 3)),
        )
    },
}


def _families():
    return [
        importlib.import_module(f"tests.nn.rows.{path.stem}")
        for path in sorted(Path(__file__).parent.glob("rows/*.py"))
    ]


def _all_rows():
    counted: collections.Counter[str] = collections.Counter()
    for module in _families():
        found = {
            id(row): row
            for value in vars(module).values()
            if isinstance(value, (list, tuple))
            for row in value
            if isinstance(row, Row)
        }
        counted.update(row.name for row in found.values())
    counted.update(row.name for row in ROWS)
    return counted


def test_every_class_of_torch_has_six_rows_or_a_reason():
    torch_nn = pytest.importorskip("torch").nn
    counted = _all_rows()
    classes = [name for name, value in vars(torch_nn).items() if inspect.isclass(value)]
    short = {name: counted[name] for name in classes if counted[name] < 6 and name not in REASONS}
    assert not short, f"too few rows and no reason: {short}"
    assert not set(REASONS) - set(classes), "reasons for classes that PyTorch does not have"


def test_every_layer_and_loss_is_differentiated_by_finite_differences():
    every = [getattr(row, "values", (row,))[0] for f in _families() for row in rows(f.ROWS)]
    told = {row.name for row in every if row.differences}
    assert {row.name for row in [*every, *ROWS]} - told == {"CrossMapLRN2d"}


def test_every_class_of_torch_is_here_or_explained():
    torch_nn = pytest.importorskip("torch").nn
    missing = {
        name
        for name, value in vars(torch_nn).items()
        if inspect.isclass(value) and not hasattr(fn.nn, name)
    }
    assert missing == {
        "Container",
        "DataParallel",
        "NLLLoss2d",
        "UninitializedBuffer",
        "UninitializedParameter",
    }


FUNCTIONS_LEFT_OUT = {
    "in-place": {
        "celu_",
        "elu_",
        "hardtanh_",
        "leaky_relu_",
        "relu_",
        "rrelu_",
        "selu_",
        "threshold_",
    },
    "names of PyTorch's own machinery": {
        "assert_int_or_pair",
        "boolean_dispatch",
        "handle_torch_function",
        "has_torch_function",
        "has_torch_function_unary",
        "has_torch_function_variadic",
        "Callable",
        "DType",
        "Optional",
        "Tensor",
        "ScalingType",
        "SwizzleType",
    },
    "return_indices=True of the function without the suffix": {
        *(f"max_pool{d}d_with_indices" for d in (1, 2, 3)),
        *(f"adaptive_max_pool{d}d_with_indices" for d in (1, 2, 3)),
        *(f"fractional_max_pool{d}d_with_indices" for d in (2, 3)),
    },
    "kernels of one device": {"grouped_mm", "scaled_grouped_mm", "scaled_mm"},
    "another name of channel_shuffle, and a layout that no layer uses": {
        "native_channel_shuffle",
        "conv_tbc",
    },
}


def test_every_function_of_torch_is_here_or_explained():
    functional = pytest.importorskip("torch").nn.functional
    missing = {
        name
        for name, value in vars(functional).items()
        if callable(value) and not name.startswith("_") and not hasattr(fn.functional, name)
    }
    assert missing == set().union(*FUNCTIONS_LEFT_OUT.values())
