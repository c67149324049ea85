"""Every kind of mask of every kind of leaf: counts, structure, jit, vmap; and the errors of what cannot be meant."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression, nn
from tests.sampling import sampled

LEAVES = {
    "matrix": lambda: jnp.arange(1.0, 13).reshape(3, 4),
    "bfloat16": lambda: jnp.arange(1, 13).reshape(3, 4).astype(jnp.bfloat16),
    "float16": lambda: -jnp.arange(1, 13).reshape(3, 4).astype(jnp.float16),
    "complex": lambda: jax.lax.complex(*[jnp.arange(1.0, 13).reshape(3, 4)] * 2),
    "stacked": lambda: jnp.arange(1.0, 25).reshape(2, 3, 4),
    "scalar": lambda: jnp.float32(2.0),
    "Python float": lambda: 2.0,
    "empty": lambda: jnp.zeros((0, 3)),
    "NumPy": lambda: np.arange(1, 13, dtype=np.float32).reshape(3, 4),
    "infinite": lambda: jnp.array([[jnp.inf, 1.0], [-jnp.inf, 2.0]]),
    "zeros": lambda: jnp.zeros((2, 3)),
}
CONSTANT = {"none": None, "integers": np.arange(3), "flags": np.ones(2, bool)}

KINDS = {
    "global": lambda amount: partial(compression.magnitude_masks, amount=amount, patterns="*"),
    "layer": lambda amount: partial(
        compression.magnitude_masks, amount=amount, patterns="*", scope="layer"
    ),
    "random": lambda amount: partial(
        compression.random_masks, jax.random.key(0), amount=amount, patterns="*"
    ),
    "random global": lambda amount: partial(
        compression.random_masks, jax.random.key(0), amount=amount, patterns="*", scope="global"
    ),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("leaf", list(LEAVES))
def test_masks_of_leaves(kind, leaf, request):
    sampled(request, (list(LEAVES).index(leaf) - list(KINDS).index(kind)) % 4 == 0)
    values = LEAVES[leaf]()
    params = {"leaf": values, **CONSTANT}
    for amount in (0.0, 0.5, 1.0):
        masks = KINDS[kind](amount)(params)
        assert list(masks) == sorted(params)
        assert all(masks[name] is None for name in CONSTANT)
        mask = masks["leaf"]
        assert (mask.shape, mask.dtype) == (jnp.shape(values), jnp.dtype(bool))
        size = np.size(values)
        assert int((~mask).sum()) == round(amount * size)
        pruned = compression.apply_masks(params, masks)
        assert pruned["integers"] is params["integers"]
        expected = np.where(mask, np.asarray(values, np.complex64), 0)
        np.testing.assert_array_equal(np.asarray(pruned["leaf"], np.complex64), expected)
        assert jnp.result_type(pruned["leaf"]) == jnp.result_type(values)
        if "random" not in kind:
            left = np.abs(expected[np.asarray(mask)])
            gone = np.abs(np.asarray(values, np.complex64)[~np.asarray(mask)])
            assert left.min(initial=np.inf) >= gone.max(initial=0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_jit_and_vmap(kind, request):
    sampled(request, kind not in ("layer", "random global"))
    """A traced amount makes the masks of a plain one; of several models each is as it would be alone."""
    params = {"a": LEAVES["matrix"](), "b": LEAVES["stacked"](), "c": LEAVES["bfloat16"]()}
    traced = jax.jit(lambda params, amount: KINDS[kind](amount)(params))
    for amount in (0.0, 0.3, 0.95):
        plain = KINDS[kind](amount)(params)
        for a, b in zip(
            jax.tree.leaves(plain), jax.tree.leaves(traced(params, amount)), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    assert traced._cache_size() == 1
    jax.eval_shape(KINDS[kind](jnp.float32(0.3)), params)  # an array that is known beforehand
    counted = jax.jit(lambda params, amount: KINDS[kind](amount)(params))(params, 5)
    for a, b in zip(jax.tree.leaves(KINDS[kind](5)(params)), jax.tree.leaves(counted), strict=True):
        np.testing.assert_array_equal(a, b)
    several = jax.tree.map(lambda p: jnp.stack([p, p[::-1], -3 * p]), params)
    together = jax.jit(jax.vmap(KINDS[kind](0.5)))(several)
    for i in range(3):
        alone = KINDS[kind](0.5)(jax.tree.map(lambda p, i=i: p[i], several))
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[i], b)


def test_iterated_masks_are_traced_too():
    params = {"w": jnp.arange(1.0, 13).reshape(3, 4)}
    first = compression.magnitude_masks(params, 0.5)
    again = jax.jit(lambda masks: compression.magnitude_masks(params, 0.5, masks=masks))(first)
    np.testing.assert_array_equal(again["w"], params["w"] > 9)


@pytest.mark.parametrize(
    ("axis", "layer"),
    list(
        product(
            ["rows", "channels", 0, 1, -1],
            ["Linear", "Conv1d", "Conv2d", "ConvTranspose2d", "grouped", "stacked", "bfloat16"],
        )
    ),
)
def test_slices_of_layers(axis, layer, request):
    sampled(request, sum(map(ord, f"{axis}{layer}")) % 3 == 0)
    made = {
        "Linear": lambda: nn.Linear(6, 4),
        "Conv1d": lambda: nn.Conv1d(6, 4, 3),
        "Conv2d": lambda: nn.Conv2d(6, 4, 3),
        "ConvTranspose2d": lambda: nn.ConvTranspose2d(6, 4, 3),
        "grouped": lambda: nn.Conv1d(6, 4, 3, groups=2),
        "stacked": lambda: nn.Repeat(nn.Linear(6, 6), 3),
        "bfloat16": lambda: nn.Linear(6, 4, dtype=jnp.bfloat16),
    }[layer]()
    params, _ = fn.functionalize(made).init(jax.random.key(0))
    masks = compression.structured_masks(made, params, 0.5, axis, patterns="*")
    weight = jax.tree.leaves(params, is_leaf=lambda x: hasattr(x, "shape"))[-1]
    mask = np.asarray(jax.tree.leaves(masks)[0])
    assert mask.shape == weight.shape
    assert len(jax.tree.leaves(masks)) == 1
    transposed = layer == "ConvTranspose2d"
    own = axis if isinstance(axis, int) else int((axis == "rows") == transposed)
    stacks = [mask] if layer != "stacked" else list(mask)
    weights = [weight] if layer != "stacked" else list(weight)
    for one, values in zip(stacks, weights, strict=True):
        rows = np.moveaxis(one, own, 0).reshape(one.shape[own], -1)
        assert (rows.all(1) | ~rows.any(1)).all()
        assert (~rows.any(1)).sum() == round(0.5 * len(rows))
        norms = np.linalg.norm(
            np.moveaxis(np.asarray(values, np.float32), own, 0).reshape(len(rows), -1), axis=1
        )
        assert norms[rows.any(1)].min() >= norms[~rows.any(1)].max(initial=0)


def test_stacked_layers_are_ranked_each_for_itself():
    model = nn.Repeat(nn.Linear(4, 4), 2)
    params, _ = fn.functionalize(model).init(jax.random.key(0))
    params["module"]["weight"] = params["module"]["weight"] * np.float32([1, 100]).reshape(2, 1, 1)
    alike = compression.magnitude_masks(params, 0.5, scope="layer", module=model)
    assert alike["module"]["weight"].sum((1, 2)).tolist() == [8, 8]
    # biases of two layers are no matrix, where the model is known
    assert alike["module"]["bias"] is None
    together = compression.magnitude_masks(params, 0.5, "*.weight", scope="layer")
    assert together["module"]["weight"].sum((1, 2)).tolist() == [0, 16]


def test_draws_depend_on_key_and_path_alone():
    params = {"a": jnp.ones((4, 5)), "b": jnp.ones((4, 5))}
    first = compression.random_masks(jax.random.key(0), params, 0.5)
    assert (first["a"] != first["b"]).any()
    np.testing.assert_array_equal(
        compression.random_masks(jax.random.key(0), {"b": params["b"]}, 0.5)["b"], first["b"]
    )
    assert (compression.random_masks(jax.random.key(1), params, 0.5)["a"] != first["a"]).any()
    fewer = compression.random_masks(jax.random.key(0), params, 0.2)
    assert (fewer["a"] >= first["a"]).all()


def test_any_tree_and_numpy_names():
    params = [jnp.ones((2, 2)), (jnp.full((2, 2), 2.0), None)]
    masks = compression.magnitude_masks(params, 4)
    assert not masks[0].any()
    assert masks[1][0].all()
    assert masks[1][1] is None
    pruned = compression.apply_masks(params, {"0": np.zeros((2, 2), int)})
    assert not pruned[0].any()


def test_the_table_of_zeros():
    params = {
        "fc": {"weight": jnp.array([[0.0, 1, 2, 0]]), "bias": jnp.zeros(0)},
        "n": np.arange(3),
    }
    table = compression.sparsity(params)
    assert (table.zeros, table.count, table.share, table.bytes) == (2, 4, 0.5, 16)
    assert [row.path for row in table.rows] == ["fc.bias", "fc.weight"]
    assert "fc.weight" in table._repr_html_()
    assert str(table).splitlines()[-1] == "2 of 4 are zero, 50.0%; 16 B dense"
    assert compression.sparsity(params, "*.weight").rows[0].share == 0.5
    masks = compression.masks_of_zeros(params)
    assert compression.sparsity(masks).zeros == 2
    with pytest.raises(ValueError, match="matches no path"):
        compression.sparsity(params, "*.wieght")


def test_schedules():
    cubic = compression.gradual(0.25, 0.75, 10, begin=5)
    steps = np.arange(30)
    got = np.asarray([cubic(step) for step in steps])
    part = np.clip((steps - 5) / 10, 0, 1)
    expected = np.where(steps < 5, 0, 0.75 + (0.25 - 0.75) * (1 - part) ** 3)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got[-1] == np.float32(0.75)
    at_once = compression.gradual(0.0, 0.9, 0, begin=3)
    assert [float(at_once(step)) for step in range(5)] == [
        0,
        0,
        0,
        np.float32(0.9),
        np.float32(0.9),
    ]
    line = compression.gradual(0.0, 1.0, 4, curve="linear")
    np.testing.assert_allclose(jax.vmap(line)(jnp.arange(6)), [0, 0.25, 0.5, 0.75, 1, 1])
    for arguments in ((-0.1, 0.5, 1), (0, 1.5, 1), (0.5, 0.2, 1), (0, 0.5, -1)):
        with pytest.raises(ValueError, match="must"):
            compression.gradual(*arguments)
    with pytest.raises(ValueError, match="must be one of 'cubic', 'linear'"):
        compression.gradual(0, 0.5, 1, curve="square")


WRONG = {
    "too much": (1.5, {}, ValueError, r"fraction, which must lie in \[0, 1\].*write 2 without"),
    "below": (-1, {}, ValueError, "there are 12"),
    "too many": (13, {}, ValueError, "1.0 is all"),
    "text": ("half", {}, TypeError, "fraction such as 0.5"),
    "flag": (True, {}, TypeError, "fraction such as 0.5"),
    "pattern": (0.5, {"patterns": "*.weights"}, ValueError, "matches no path"),
    "scope": (0.5, {"scope": "local"}, ValueError, "'global', 'layer'"),
    "masks": (0.5, {"masks": {"v": np.ones(2)}}, ValueError, "masks of v"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_cannot_be_meant_raises(name):
    amount, options, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        compression.magnitude_masks({"w": jnp.ones((3, 4))}, amount, **options)


MISTAKEN = {
    "masks of a module": (lambda m, p: compression.magnitude_masks(m, 0.5), "takes a tree of arrays"),
    "masks of a net": (lambda m, p: compression.magnitude_masks(fn.functionalize(m), 0.5), "takes a tree of arrays"),
    "zeros of a module": (lambda m, p: compression.masks_of_zeros(m), "takes a tree of arrays"),
    "sparsity of a module": (lambda m, p: compression.sparsity(m), "takes a tree of arrays"),
    "sparsity of a net": (lambda m, p: compression.sparsity(fn.functionalize(m)), "takes a tree of arrays"),
    "no key": (lambda m, p: compression.random_masks(0, p, 0.5), "random key first, such as .*; got int"),
    "no key but params": (lambda m, p: compression.random_masks(p, jax.random.key(0), 0.5), "got dict"),
    "masks applied to a module": (lambda m, p: compression.apply_masks(m, {"weight": True}), "a tree of arrays"),
    "masks first": (
        lambda m, p: compression.apply_masks(compression.magnitude_masks(p, 0.5), p), "parameters come first",
    ),
    "half a step": (lambda m, p: compression.gradual(0.0, 0.5, 0.5), "steps must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MISTAKEN))
def test_what_was_mistaken_for_another_argument_raises(name):
    call, message = MISTAKEN[name]
    params = {"weight": jnp.ones((3, 4)), "bias": jnp.ones(3)}
    with pytest.raises(TypeError, match=message):
        call(nn.Linear(4, 3), params)


def test_what_cannot_be_cut_or_joined_raises():
    layer = nn.Sequential(nn.Linear(3, 4))
    params, _ = fn.functionalize(layer).init(jax.random.key(0))
    structured = partial(compression.structured_masks, layer, params, 0.5)
    with pytest.raises(ValueError, match="no axis 2"):
        structured(2, patterns="*")
    with pytest.raises(ValueError, match="'rows', 'channels' or an axis"):
        structured("columns", patterns="*")
    with pytest.raises(ValueError, match="unit_masks"):
        structured("heads", patterns="*")
    with pytest.raises(ValueError, match="matches no Linear"):
        structured("rows", patterns="1")
    with pytest.raises(ValueError, match='leave out scope="global"'):
        compression.random_masks(jax.random.key(0), params, 0.5, axis=0, scope="global")
    with pytest.raises(ValueError, match="two axes or more"):
        compression.magnitude_masks({"b": jnp.ones(3)}, 0.5)
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        compression.combine_masks({"w": np.ones(2)}, {"w": np.ones(3)})
    with pytest.raises(ValueError, match="only one of the pair"):
        compression.split_pruned({"w_orig": np.ones(2)})
    with pytest.raises(TypeError, match="by dotted name"):
        compression.split_pruned({"fc": {"weight": np.ones(2)}})
