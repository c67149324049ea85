"""Twenty steps of each optimizer equal PyTorch's, for every hyperparameter and option.

Measured differences are a few units in the last place of float64; 1e-10 leaves room for their
growth over the steps.
"""

import jax.numpy as jnp
import pytest

from funcnet import optim
from tests.optim import problem

torch = pytest.importorskip("torch")

STEPS = 20

CASES = [
    ("sgd", "SGD", {"lr": 0.1}),
    ("sgd", "SGD", {"lr": 0.1, "maximize": True, "weight_decay": 0.2}),
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.9}),
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("sgd", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam", "Adam", {}),
    ("adam", "Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("adam", "Adam", {"lr": 0.05, "amsgrad": True, "maximize": True, "betas": (0.0, 0.5)}),
    ("adam", "Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("adam", "Adam", {"lr": 0.05, "betas": (0.5, 0.0), "eps": 1e-16, "weight_decay": 0.1}),
    ("adam", "Adam", {"lr": 0.0, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("adamw", "AdamW", {}),
    ("adamw", "AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "betas": (0.7, 0.8)}),
    ("adamw", "AdamW", {"lr": 0.05, "weight_decay": 0.0, "maximize": True}),
    ("adamax", "Adamax", {}),
    ("adamax", "Adamax", {"lr": 0.05, "betas": (0.5, 0.6), "eps": 1e-2, "weight_decay": 0.1}),
    ("adamax", "Adamax", {"lr": 0.05, "maximize": True}),
    ("nadam", "NAdam", {}),
    ("nadam", "NAdam", {"lr": 0.05, "betas": (0.5, 0.6), "eps": 1e-2, "weight_decay": 0.1}),
    ("nadam", "NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("nadam", "NAdam", {"lr": 0.05, "momentum_decay": 0.1}),
    ("radam", "RAdam", {"lr": 0.05}),
    ("radam", "RAdam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    ("radam", "RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("radam", "RAdam", {"lr": 0.05, "betas": (0.9, 0.6)}),
    ("radam", "RAdam", {"lr": 0.05, "betas": (0.0, 0.0)}),
    ("adagrad", "Adagrad", {}),
    ("adagrad", "Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-2}),
    ("adagrad", "Adagrad", {"initial_accumulator_value": 0.5, "maximize": True}),
    ("adadelta", "Adadelta", {}),
    ("adadelta", "Adadelta", {"lr": 0.5, "rho": 0.5, "eps": 1e-2, "weight_decay": 0.1}),
    ("adadelta", "Adadelta", {"maximize": True}),
    ("rmsprop", "RMSprop", {}),
    ("rmsprop", "RMSprop", {"lr": 0.05, "alpha": 0.5, "eps": 1e-2, "weight_decay": 0.1}),
    ("rmsprop", "RMSprop", {"momentum": 0.9, "maximize": True}),
    ("rmsprop", "RMSprop", {"centered": True, "eps": 1e-3}),
    ("rmsprop", "RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3}),
    ("rprop", "Rprop", {}),
    ("rprop", "Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-2, 0.2)}),
    ("rprop", "Rprop", {"maximize": True}),
    ("rprop", "Rprop", {"lr": 0.0, "step_sizes": (1e-3, 50.0)}),
    ("asgd", "ASGD", {}),
    ("asgd", "ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 4.0, "weight_decay": 0.1}),
    ("asgd", "ASGD", {"maximize": True, "t0": 0.0}),
    ("adafactor", "Adafactor", {}),
    ("adafactor", "Adafactor", {"lr": 0.1, "beta2_decay": -0.3, "weight_decay": 0.1}),
    ("adafactor", "Adafactor", {"lr": 0.5, "eps": (1e-2, 0.5), "d": 2.0, "maximize": True}),
]


def label(case):
    ours, _, options = case
    return "-".join([ours, *(f"{k}={v}" for k, v in options.items())])


@pytest.mark.parametrize("case", CASES, ids=label)
def test_steps_equal_pytorch(case, x64):
    ours, theirs, options = case
    # Where each number moves alone, one leaf of a few shows all there is.
    shapes = None if ours == "adafactor" else {"weight": (4, 3)}
    params, noise = problem.make(STEPS, shapes=shapes)
    path, _ = problem.run(getattr(optim, ours)(**options), params, noise)
    reference = problem.run_torch(
        lambda tensors: getattr(torch.optim, theirs)(tensors, **options), params, noise
    )
    problem.assert_same(path, reference)


def richest(cases):
    """Keep one case of each optimizer: the one with the most options."""
    return list({case[0]: case for case in sorted(cases, key=lambda c: len(c[2]))}.values())


COMPLEX = [case for case in richest(CASES) if case[0] != "adafactor"]


@pytest.mark.parametrize("case", COMPLEX, ids=label)
def test_complex_parameters_equal_pytorch(case, x64):
    ours, theirs, options = case
    params, noise = problem.make(STEPS, complex, shapes={"w": (2, 3)})
    path, state = problem.run(getattr(optim, ours)(**options), params, noise)
    reference = problem.run_torch(
        lambda tensors: getattr(torch.optim, theirs)(tensors, **options), params, noise
    )
    problem.assert_same(path, reference)
    assert all(slot["w"].dtype == complex for slot in state.slots.values())


# One value out of range for each hyperparameter, and who refuses it.
ADAMS = ("adam", "adamw", "adamax", "nadam", "radam")
INVALID = {
    "lr": {"lr": -0.1},
    "weight_decay": {"weight_decay": -0.1},
    "eps": {"eps": -1e-8},
    "betas": {"betas": (0.9, 1.0)},
    "momentum": {"momentum": -0.1},
    "momentum_decay": {"momentum_decay": -0.1},
    "rho": {"rho": 1.5},
    "alpha": {"alpha": -0.1},
    "lr_decay": {"lr_decay": -0.1},
    "initial_accumulator_value": {"initial_accumulator_value": -0.1},
    "beta2_decay": {"beta2_decay": 0.1},
    "d": {"d": 0.5},
    "etas": {"etas": (1.1, 1.2)},
    "adjust_lr_fn": {"adjust_lr_fn": "always"},
}
REFUSALS = {
    **dict.fromkeys(ADAMS, ("lr", "weight_decay", "eps", "betas")),
    "nadam": ("lr", "weight_decay", "eps", "betas", "momentum_decay"),
    "sgd": ("lr", "weight_decay", "momentum"),
    "adagrad": ("lr", "weight_decay", "eps", "lr_decay", "initial_accumulator_value"),
    "adadelta": ("lr", "weight_decay", "eps", "rho"),
    "rmsprop": ("lr", "weight_decay", "eps", "alpha", "momentum"),
    "rprop": ("lr", "etas"),
    "asgd": ("lr", "weight_decay"),
    "adafactor": ("lr", "weight_decay", "beta2_decay", "d"),
    "muon": ("lr", "weight_decay", "momentum", "adjust_lr_fn"),
    "sparse_adam": ("lr", "eps", "betas"),
    "lbfgs": ("lr",),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_what_pytorch_refuses(name):
    theirs = {one.lower(): getattr(torch.optim, one) for one in torch.optim.__all__}
    tensor = torch.zeros((2, 2), requires_grad=True)
    for what in REFUSALS[name]:
        with pytest.raises(ValueError, match=what):
            getattr(optim, name)(**INVALID[what])
        with pytest.raises(ValueError):
            theirs[name.replace("_", "")]([tensor], **INVALID[what])


FLOAT32 = [("sgd", "SGD", {"lr": 0.1}), ("adam", "Adam", {}), ("nadam", "NAdam", {})]


@pytest.mark.parametrize("case", FLOAT32, ids=label)
def test_float32_stays_near_pytorch(case):
    ours, theirs, options = case
    params, noise = problem.make(STEPS, "float32")
    path, state = problem.run(getattr(optim, ours)(**options), params, noise)
    reference = problem.run_torch(
        lambda tensors: getattr(torch.optim, theirs)(tensors, **options), params, noise
    )
    # A step rounds to 6e-8; beta2 itself rounds to a relative 1e-5 of 1 - beta2.
    problem.assert_same(path, reference, rtol=2e-5)
    assert state.step.dtype == "int32"


MUON = [
    {},
    {"lr": 0.1, "nesterov": False, "momentum": 0.5, "weight_decay": 0.0},
    {"lr": 0.1, "adjust_lr_fn": "match_rms_adamw"},
    {"lr": 0.1, "ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5), "adjust_lr_fn": "original"},
]
MATRICES = {"wide": (3, 5), "tall": (6, 2), "square": (4, 4)}


@pytest.mark.parametrize("options", MUON, ids=str)
def test_muon_equals_pytorch_in_float64(options, x64, monkeypatch):
    """PyTorch's iteration rounds to bfloat16; without that rounding both sides are comparable."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    params, noise = problem.make(STEPS, shapes=MATRICES)
    path, _ = problem.run(optim.muon(**options, ns_dtype="float64"), params, noise)
    reference = problem.run_torch(
        lambda tensors: torch.optim.Muon(tensors, **options), params, noise
    )
    problem.assert_same(path, reference)


@pytest.mark.parametrize("options", MUON[:3], ids=str)
def test_muon_in_bfloat16_stays_near_pytorch(options, x64):
    params, noise = problem.make(STEPS, shapes=MATRICES)
    path, _ = problem.run(optim.muon(**options), params, noise)
    reference = problem.run_torch(
        lambda tensors: torch.optim.Muon(tensors, **options), params, noise
    )
    # Sums in another order flip the last of 8 bits now and then; five iterations spread that to a
    # few percent of a step of one singular value.
    problem.assert_same(path, reference, rtol=0.05 * options.get("lr", 1e-3))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip_by_global_norm", {"max_norm": 0.7}),
        ("clip_by_global_norm", {"max_norm": 1e3}),
        ("clip_by_value", {"max_value": 0.3}),
    ],
)
def test_clipping_equals_pytorch(name, options, x64):
    params, noise = problem.make(STEPS)
    path, _ = problem.run(
        optim.chain(getattr(optim, name)(*options.values()), optim.sgd(0.1, momentum=0.5)),
        params,
        noise,
    )
    clip = {
        "clip_by_global_norm": torch.nn.utils.clip_grad_norm_,
        "clip_by_value": torch.nn.utils.clip_grad_value_,
    }[name]

    class Clipped(torch.optim.SGD):
        def step(self, closure=None):
            clip([p for group in self.param_groups for p in group["params"]], *options.values())
            return super().step(closure)

    reference = problem.run_torch(
        lambda tensors: Clipped(tensors, lr=0.1, momentum=0.5), params, noise
    )
    problem.assert_same(path, reference)


def test_rprop_compares_signs_of_gradients_of_any_size():
    """Products of small gradients are zero in float32, and of an infinite one and zero NaN."""
    optimizer = optim.rprop(0.5, etas=(0.5, 2.0))
    for size in (1.0, 1e-30, float("inf")):
        state = optimizer.init(jnp.ones(()))
        moves = []
        for sign in (1, 1, -1):
            updates, state = optimizer.update(jnp.float32(sign * size), state)
            moves.append(float(updates))
        assert moves == [-0.5, -1.0, 0.0]
