"""Masks are those of `torch.nn.utils.prune`, entry by entry; what is drawn has its counts."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression, nn

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")

AMOUNTS = (0.0, 0.25, 0.3, 0.5, 1.0, 0, 1, 5)
SHAPES = ((4, 6), (3, 5, 2), (2, 3, 3, 3))


def values(*shape, seed=0):
    """Numbers whose absolute values all differ, so that no order is left to chance."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    return (rng.permutation(size) + 1.0).astype(np.float32).reshape(shape) * rng.choice(
        [-1, 1], shape
    )


def holder(array):
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.tensor(np.float32(array)))
    return module


def torch_mask(module):
    return module.weight_mask.numpy().astype(bool)


def layer_of(shape):
    """A layer of ours whose weight has a shape."""
    if len(shape) == 2:
        return nn.Linear(shape[1], shape[0])
    kind = nn.Conv1d if len(shape) == 3 else nn.Conv2d
    return kind(shape[1], shape[0], shape[2:])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_l1_unstructured(shape):
    for first, second in product(AMOUNTS, (None, 0.5, 2)):
        array, module = np.float32(values(*shape)), holder(values(*shape))
        prune.l1_unstructured(module, "weight", first)
        masks = compression.magnitude_masks({"weight": array}, first, scope="layer")
        np.testing.assert_array_equal(masks["weight"], torch_mask(module), f"{first}")
        if second is None or (isinstance(second, int) and torch_mask(module).sum() < second):
            continue
        prune.l1_unstructured(module, "weight", second)
        masks = compression.magnitude_masks({"weight": array}, second, scope="layer", masks=masks)
        np.testing.assert_array_equal(masks["weight"], torch_mask(module), f"{first}, {second}")
        pruned = compression.apply_masks({"weight": array}, masks)
        prune.remove(module, "weight")
        np.testing.assert_array_equal(pruned["weight"], module.weight.detach().numpy())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ln_structured(shape, pytestconfig):
    layer = layer_of(shape)
    bias = np.zeros(shape[0], np.float32)
    cases = list(product((1, 2, 3.0, float("inf"), -float("inf"), 0), range(len(shape))))
    if pytestconfig.getoption("grid") != "full":
        cases = cases[len(shape) % 2 :: len(shape) + 2]  # other norms and axes for each shape
    for norm, axis in cases:
        # numbers that are not whole, so that no two norms are equal; 0 counts, and all would be
        array = np.random.default_rng(7).normal(size=shape).astype(np.float32)
        if norm == 0:
            steps = np.arange(shape[axis]).reshape(
                [-1 if i == axis else 1 for i in range(len(shape))]
            )
            other = np.arange(array.size // shape[axis]).reshape(np.take(array, 0, axis).shape)
            array = np.where(np.expand_dims(other, axis) <= steps, array, 0)
        params = {"weight": array, "bias": bias}
        for amounts in ((0.3,), (0.5,), (0.34, 0.5), (1, 1)):
            module, masks = holder(array), None
            for amount in amounts:
                prune.ln_structured(module, "weight", amount, norm, axis)
                masks = compression.structured_masks(
                    layer, params, amount, axis, patterns="*", norm=norm, masks=masks
                )
            where = f"norm {norm}, axis {axis}, {amounts}"
            np.testing.assert_array_equal(masks["weight"], torch_mask(module), where)
            assert masks["bias"] is None


def test_global_unstructured():
    rng = np.random.default_rng(5)
    arrays = {
        f"layer{i}": {"weight": rng.normal(size=shape).astype(np.float32) / (i + 1)}
        for i, shape in enumerate(SHAPES)
    }
    for amounts in ((0.2,), (0.0,), (7,), (0.5, 0.5), (0.3, 4)):
        modules = {name: holder(one["weight"]) for name, one in arrays.items()}
        masks = None
        for amount in amounts:
            prune.global_unstructured(
                [(module, "weight") for module in modules.values()],
                prune.L1Unstructured,
                amount=amount,
            )
            masks = compression.magnitude_masks(arrays, amount, masks=masks)
        for name, module in modules.items():
            np.testing.assert_array_equal(masks[name]["weight"], torch_mask(module), f"{amounts}")


def test_custom_masks_multiply():
    array = np.float32(values(4, 6))
    first, second = (np.random.default_rng(i).random((4, 6)) < 0.5 for i in (1, 2))
    module = holder(array)
    prune.custom_from_mask(module, "weight", torch.tensor(first))
    prune.custom_from_mask(module, "weight", torch.tensor(second))
    masks = compression.combine_masks({"weight": first}, {"weight": second})
    pruned = compression.apply_masks({"weight": array}, masks)
    np.testing.assert_array_equal(pruned["weight"], module.weight.detach().numpy())
    arrays, read = compression.split_pruned(
        {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    )
    np.testing.assert_array_equal(arrays["weight"], pruned["weight"])
    np.testing.assert_array_equal(read["weight"], masks["weight"])


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_random_masks_count_as_pytorch_does(axis):
    for first, second in product((0.0, 0.25, 0.3, 3), (None, 0.5, 1)):
        module = holder(values(5, 6))
        masks = None
        for amount in (first, second):
            if amount is None:
                continue
            if axis is None:
                prune.random_unstructured(module, "weight", amount)
            else:
                prune.random_structured(module, "weight", amount, axis)
            masks = compression.random_masks(
                jax.random.key(3), {"weight": jnp.ones((5, 6))}, amount, axis=axis, masks=masks
            )
        assert masks["weight"].sum() == torch_mask(module).sum(), (first, second)
        if axis is not None:
            rows = np.moveaxis(np.asarray(masks["weight"]), axis, 0)
            assert (rows.all(1) | ~rows.any(1)).all()


def test_random_masks_fall_evenly():
    keys = jax.random.split(jax.random.key(0), 400)
    draw = jax.vmap(lambda key: compression.random_masks(key, {"w": jnp.ones((4, 5))}, 0.5)["w"])
    share = np.asarray(draw(keys)).mean(0)
    # 400 draws of a half: a standard deviation of 0.025, and no one of 20 beyond five of them
    np.testing.assert_allclose(share, 0.5, atol=0.125)


def test_gradients_of_a_masked_layer():
    """A loss of masked parameters has PyTorch's gradients of ``weight_orig``."""
    layer, theirs = nn.Linear(6, 4), torch.nn.Linear(6, 4)
    params = {"weight": np.float32(values(4, 6)), "bias": np.ones(4, np.float32)}
    theirs.load_state_dict({name: torch.tensor(array) for name, array in params.items()})
    prune.l1_unstructured(theirs, "weight", 0.5)
    masks = compression.magnitude_masks(params, 0.5)
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    theirs(torch.tensor(x)).square().sum().backward()
    net = fn.functionalize(layer)

    def loss(params):
        return (net.apply(compression.apply_masks(params, masks), {}, x)[0] ** 2).sum()

    grads = jax.grad(loss)(jax.tree.map(jnp.asarray, params))
    np.testing.assert_allclose(grads["weight"], theirs.weight_orig.grad, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(grads["bias"], theirs.bias.grad, rtol=1e-5)
