"""Twenty steps of each optimizer equal PyTorch's, for every hyperparameter and option.

Measured differences are a few units in the last place of float64; 1e-10 leaves room for their
growth over the steps.
"""

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
    ("adamw", "AdamW", {}),
    ("adamw", "AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "betas": (0.7, 0.8)}),
    ("adamw", "AdamW", {"lr": 0.05, "weight_decay": 0.0, "maximize": True}),
]


def label(case):
    ours, _, options = case
    return "-".join([ours, *(f"{k}={v}" for k, v in options.items())])


@pytest.mark.parametrize("case", CASES, ids=label)
def test_steps_equal_pytorch(case, x64):
    ours, theirs, options = case
    params, noise = problem.make(STEPS)
    path, _ = problem.run(getattr(optim, ours)(**options), params, noise)
    reference = problem.run_torch(
        lambda tensors: getattr(torch.optim, theirs)(tensors, **options), params, noise
    )
    problem.assert_same(path, reference)


@pytest.mark.parametrize("case", [case for case in CASES if case[2].get("weight_decay")], ids=label)
def test_complex_parameters_equal_pytorch(case, x64):
    ours, theirs, options = case
    params, noise = problem.make(STEPS, complex, shapes={"w": (2, 3)})
    path, state = problem.run(getattr(optim, ours)(**options), params, noise)
    reference = problem.run_torch(
        lambda tensors: getattr(torch.optim, theirs)(tensors, **options), params, noise
    )
    problem.assert_same(path, reference)
    assert all(slot["w"].dtype == complex for slot in state.slots.values())


@pytest.mark.parametrize("ours", ["sgd", "adam", "adamw"])
def test_float32_stays_near_pytorch(ours):
    params, noise = problem.make(STEPS, "float32")
    options = {"lr": 0.01}
    path, state = problem.run(getattr(optim, ours)(**options), params, noise)
    name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[ours]
    reference = problem.run_torch(
        lambda tensors: getattr(torch.optim, name)(tensors, **options), params, noise
    )
    # One step rounds to 6e-8; beta2 itself rounds to a relative 1e-5 of 1 - beta2.
    problem.assert_same(path, reference, rtol=1e-5)
    assert state.hyper.values.dtype == "float32"


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
