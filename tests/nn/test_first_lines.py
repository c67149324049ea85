"""What somebody who comes from PyTorch types first: functions in Sequential, names of packages, flags, pickles."""

import copy
import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim
from funcnet.core.errors import UnboundModuleError

KEY = jax.random.key(0)


def plus_one(x):
    return x + 1


# ---- Sequential ----------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [False, True])
def test_sequential_takes_functions_and_lists(listed):
    parts = [nn.Linear(2, 2), jnp.tanh, plus_one, nn.Linear(2, 1)]
    model = nn.Sequential(parts) if listed else nn.Sequential(*parts)
    net = fn.functionalize(model)
    params, state = net.init(KEY)
    assert sorted(params) == ["0", "3"]  # places count, as of a layer without parameters
    x = jnp.ones((3, 2))
    hidden = jnp.tanh(F.linear(x, **params["0"])) + 1
    np.testing.assert_allclose(
        net.apply(params, state, x)[0], F.linear(hidden, **params["3"]), rtol=1e-6
    )
    assert "(2): PlainFunction(plus_one)" in repr(model)


def test_a_sequential_of_functions_can_be_changed_copied_and_pickled():
    model = nn.Sequential(layer for layer in (nn.Linear(2, 2), jnp.tanh))
    model.append(plus_one)
    model[1] = plus_one
    assert len(pickle.loads(pickle.dumps(model))) == len(copy.deepcopy(model)) == 3
    assert fn.bind(model[1:], {}, {})(jnp.zeros(2)).tolist() == [2.0, 2.0]
    assert len(nn.Sequential({"first": nn.ReLU(), "second": jnp.tanh})) == 2


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"write ReLU\(\.\.\.\)"):
        nn.Sequential(nn.Linear(2, 2), nn.ReLU)
    with pytest.raises(TypeError, match="Sequential holds modules; got None"):
        nn.Sequential(nn.Linear(2, 2), None)
    with pytest.raises(TypeError, match="ModuleList holds modules"):
        nn.ModuleList([jnp.tanh])


# ---- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [nn, F], ids=["nn", "functional"])
def test_packages_list_public_names_alone(package):
    assert dir(package) == sorted(dir(package))
    for name in dir(package):
        value = getattr(package, name)
        assert not name.startswith("_")
        assert not inspect.ismodule(value) or name in ("init", "parametrizations", "utils")


HINTS = [
    (nn, "functional", "from funcnet import functional as F"),
    (nn.utils, "clip_grad_norm_", "clip_by_global_norm"),
    (nn, "DataParallel", "spreads a batch"),
    (nn, "Linaer", "Did you mean Linear"),
    (F, "ReLU", r"In funcnet: F\.relu"),
    (F, "sofmax", "Did you mean softmax"),
]


@pytest.mark.parametrize(("package", "name", "hint"), HINTS)
def test_a_missing_name_says_what_to_write(package, name, hint):
    with pytest.raises(AttributeError, match=hint):
        getattr(package, name)


def _theirs(name):
    """List what a class or a package of PyTorch has of its own that can be called."""
    import torch

    owner = {
        "Module": torch.nn.Module,
        "optimizer": torch.optim.Optimizer,
        "init": torch.nn.init,
        "lr_scheduler": torch.optim.lr_scheduler,
        "optim": torch.optim,
    }[name]
    # other libraries put names of theirs on PyTorch's classes
    package = owner.__name__ if inspect.ismodule(owner) else "torch."
    return [
        name
        for name, value in vars(owner).items()
        if callable(value) and not name.startswith("_") and value.__module__.startswith(package)
    ]


NET = fn.functionalize(nn.Linear(2, 2))
NOT_SAID = {
    "extra_repr",  # defined in a subclass
    "profile_hook_step",
    "OptimizerPreHook",
    "OptimizerPostHook",
    "swap_in_optimizer_params_and_state",
    *(
        f"register_{what}_{when}_hook"
        for what in ("state_dict", "load_state_dict")
        for when in ("pre", "post")
    ),
}
"""Names that those who use PyTorch hardly type."""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Module", nn.Linear(2, 2)),
        ("Module", NET),
        ("optimizer", optim.adam()),
        ("optim", optim),
        ("lr_scheduler", optim.schedules),
        ("init", nn.init),
    ],
    ids=["module", "functional", "optimizer", "optim", "lr_scheduler", "init"],
)
def test_every_public_name_of_pytorch_is_there_or_answered(theirs, ours):
    pytest.importorskip("torch")
    silent = []
    for name in _theirs(theirs):
        if name in NOT_SAID or hasattr(ours, name):
            continue
        with pytest.raises(AttributeError) as raised:
            getattr(ours, name)
        silent += [] if "In funcnet: " in str(raised.value) else [name]
    assert not silent


X = jnp.ones((2, 3))
PARAMS, STATE = NET.init(KEY)
SENTENCES = {
    "a layer made of its input": (lambda: nn.MSELoss(X, X), TypeError, r"nn\.MSELoss\(\)\(input, target\)"),
    "weighted too": (lambda: nn.CrossEntropyLoss(X, X), TypeError, "size_average must be True, False or None"),
    "a weight in third place": (lambda: F.mse_loss(X, X, X), TypeError, "weight=..."),
    "an activation of its input": (lambda: nn.ELU(X), TypeError, r"nn\.ELU\(\)\(x\), or .* F\.elu\(x\)"),
    "softmax of its input": (lambda: nn.Softmax(X), TypeError, r"nn\.Softmax\(\)\(x\)"),
    "an initializer of an array": (lambda: nn.init.normal(X), TypeError, r"nn\.Parameter\(shape, nn\.init\.normal"),
    "an initializer of a parameter": (
        lambda: nn.init.xavier_uniform(nn.Linear(2, 2).weight), TypeError, "takes its settings",
    ),
    "a parameter that is not trained": (lambda: nn.Parameter(X, requires_grad=False), TypeError, "is a Buffer"),
    "sizes of floats": (lambda: nn.Linear(2.5, 2), TypeError, r"whole numbers, or None; got \(2, 2\.5\)"),
    "sizes of text": (lambda: nn.Linear("2", 2), TypeError, "whole numbers"),
    "output and state in a loss": (
        lambda: F.mse_loss(NET.apply(PARAMS, STATE, X[:, :2]), X), TypeError, "write output, state = net.apply",
    ),
    "output and state in a layer": (
        lambda: F.silu(NET.apply(PARAMS, STATE, X[:, :2])), TypeError, "write output, state = net.apply",
    ),
    "an optimizer of a module": (lambda: optim.adam().init(nn.Linear(2, 2)), TypeError, "got Linear: write"),
    "an optimizer of two functions": (lambda: optim.adam().init(NET), TypeError, "got Functional: write"),
    "lists of groups": (lambda: optim.groups([{"params": PARAMS, "lr": 0.1}]), TypeError, "groups takes patterns"),
    "transforms of images": (lambda: fn.transforms.Compose, AttributeError, "transforms="),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_a_first_sentence_says_what_to_write(name):
    call, error, message = SENTENCES[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "transform", [jax.jit, jax.grad, jax.vmap, jax.checkpoint, fn.jit, fn.grad]
)
def test_a_transform_of_both_functions_says_which_to_transform(transform):
    for _ in range(3):  # the second jax.jit of what cannot be weakly referenced ended the process
        with pytest.raises((TypeError, UnboundModuleError), match=r"jax\.jit\(net\.apply\)"):
            transform(NET)(1.0)


# ---- flags and pickles ---------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self):
        self.weight = fn.Parameter((2,), nn.init.ones())

    def __call__(self, x, twice=False, *, mode="plain", mask=None):
        x = jnp.sin(self.weight) * x * (2 if twice else 1)
        x = x if mask is None else jnp.where(mask, x, 0.0)
        return -x if mode == "minus" else x


def test_flags_and_names_pass_through_remat():
    net, plain = fn.functionalize(nn.Remat(Scaled())), fn.functionalize(Scaled())
    params, state = net.init(KEY)
    x, mask = jnp.ones(2), jnp.array([True, False])

    def loss(model, params, *args, **kwargs):
        return model.apply(params, {}, x, *args, **kwargs)[0].sum()

    calls = [((), {"twice": True}), ((True,), {}), ((), {"mode": "minus", "mask": mask})]
    inner = plain.init(KEY)[0]
    for args, kwargs in calls:
        own = jax.grad(lambda p: loss(net, p, *args, **kwargs))(params)
        other = jax.grad(lambda p: loss(plain, p, *args, **kwargs))(inner)
        np.testing.assert_array_equal(jax.tree.leaves(own)[0], jax.tree.leaves(other)[0])
    attention = fn.functionalize(nn.Remat(nn.MultiheadAttention(4, 2)))
    params, state = attention.init(KEY)
    y = jnp.ones((3, 1, 4))
    (_, weights), _ = attention.apply(params, state, y, y, y, need_weights=False)
    assert weights is None


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_parametrized_layers_are_pickled_and_copied(kind):
    parametrize = getattr(nn.parametrizations, kind)
    layer = parametrize(parametrize(nn.Bilinear(3, 2, 4)), "bias")
    net = fn.functionalize(layer)
    params, state = net.init(KEY)
    x, y = jnp.ones((5, 3)), jnp.ones((5, 2))
    expected = net.apply(params, state, x, y)[0]
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert type(other) is type(layer)
        output = fn.functionalize(other).apply(params, state, x, y)[0]
        np.testing.assert_array_equal(output, expected)


COMPLEX = [
    nn.Linear(3, 2, dtype=jnp.complex64),
    nn.Bilinear(3, 3, 2, dtype=jnp.complex64),
    nn.Conv1d(3, 2, 2, dtype=jnp.complex64),
    nn.ConvTranspose1d(3, 2, 2, dtype=jnp.complex64),
    nn.Embedding(3, 2, dtype=jnp.complex64),
]


@pytest.mark.parametrize("layer", COMPLEX, ids=lambda layer: type(layer).__name__)
def test_complex_parameters_are_drawn_in_both_parts(layer):
    params, _ = fn.functionalize(layer).init(KEY)
    for leaf in jax.tree.leaves(params):
        assert leaf.dtype == jnp.complex64
        assert (leaf.real != leaf.imag).all()


def test_bounds_hold_for_both_parts_as_in_pytorch():
    draws = nn.init.uniform(-0.5, 0.25)(KEY, (4000,), jnp.complex64)
    for part in (draws.real, draws.imag):
        assert -0.5 <= part.min() < -0.49
        assert 0.24 < part.max() <= 0.25
    with pytest.raises(TypeError, match="between two bounds"):
        nn.init.trunc_normal()(KEY, (3,), jnp.complex64)
