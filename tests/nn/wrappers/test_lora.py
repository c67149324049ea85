"""LoRA: the adapted model, its training by pattern, and folding back."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim, transforms


def filled(module, seed=1, zero=""):
    """Weights drawn by NumPy, with those of one name left at zero."""
    net, draw = fn.functionalize(module), np.random.default_rng(seed).standard_normal
    params, state = jax.eval_shape(net.init, jax.random.key(0))

    def fill(entries, spec):
        name = str(entries[-1].key)
        return jnp.asarray(draw(spec.shape) * (name != zero) * 0.5, spec.dtype)

    params = jax.tree_util.tree_map_with_path(fill, params)
    return params, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), state)


def output_of(module, params, state, *args, **kwargs):
    return jax.jit(lambda p, args: fn.functionalize(module).apply(p, state, *args, **kwargs)[0])(
        params, args
    )


class Scaled(nn.Linear):
    """A layer of a user's own."""

    def __call__(self, input):
        return 2 * super().__call__(input) + self.weight.sum()


CASES = {
    "linear": (nn.Linear(6, 4), (3, 6)),
    "no bias": (nn.Linear(6, 4, bias=False), (6,)),
    "conv1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 8)),
    "conv2d": (nn.Conv2d(3, 4, (3, 2), padding=2, dilation=2, padding_mode="circular"), (3, 7, 7)),
    "channels last": (nn.Conv2d(3, 4, 3, padding="same", channels_last=True), (2, 5, 5, 3)),
    "conv3d": (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2), (1, 3, 4, 4)),
    "own": (Scaled(6, 4), (3, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_adapted_layers(rng, case):
    layer, shape = CASES[case]
    adapted = nn.lora(layer, "*", rank=2, alpha=3.0)
    assert type(adapted) is not type(layer)
    assert isinstance(adapted, type(layer))
    assert isinstance(adapted, nn.LoRA)
    assert "lora_A" not in vars(layer)
    x = rng.standard_normal(shape, np.float32)
    params, state = filled(adapted)

    @jax.jit
    def run(params, x):
        start = params | {"lora_B": jnp.zeros_like(params["lora_B"])}
        base = {name: params[name] for name in params if "lora" not in name}
        net, plain = fn.functionalize(adapted), fn.functionalize(layer)
        merged = nn.merge_lora(adapted, params)
        return [
            (net.apply(start, state, x)[0], plain.apply(base, state, x)[0]),
            (net.apply(params, state, x)[0], plain.apply(merged, state, x)[0]),
            (merged["weight"], jnp.asarray(0.0)),
        ]

    at_start, after, (merged, _) = run(params, x)
    np.testing.assert_allclose(*at_start, rtol=1e-5, atol=1e-6)  # float32
    np.testing.assert_allclose(*after, rtol=1e-4, atol=1e-5)  # a sum in another order
    assert not np.allclose(at_start[0], after[0], atol=1e-2)  # the addition shows
    a, b = (np.asarray(params[name]) for name in ("lora_A", "lora_B"))
    expected = np.asarray(params["weight"]) + 1.5 * np.tensordot(b, a, 1)
    # float32: sums in another order
    np.testing.assert_allclose(merged, expected, rtol=1e-5, atol=1e-6)


class Block(nn.Module):
    def __init__(self):
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def __call__(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.mlp(x)


class Model(nn.Module):
    def __init__(self, wrapped=True):
        self.stem = nn.Linear(3, 8)
        self.blocks = nn.Repeat(Block(), 2) if wrapped else [Block()]
        self.heads = {"a": nn.Linear(8, 2)}

    def __call__(self, x):
        blocks = self.blocks if callable(self.blocks) else self.blocks[0]
        return self.heads["a"](blocks(self.stem(x)))


def test_a_model_by_patterns_with_stacked_layers_and_weights_that_are_read(rng):
    model = Model()
    adapted = nn.lora(model, ["blocks.*", "heads.a"], rank=2)
    params, state = filled(adapted)
    lora = {p for p in fn.state_dict(adapted, params) if "lora" in p}
    assert lora == {
        f"{name}.lora_{x}"
        for name in [
            *(f"blocks.{i}.{n}" for i in (0, 1) for n in ("attention.out_proj", "mlp.0", "mlp.2")),
            "heads.a",
        ]
        for x in "AB"
    }
    assert set(fn.state_dict(model, filled(model)[0])) == set(fn.state_dict(adapted, params)) - lora
    x = rng.standard_normal((2, 5, 3), np.float32)
    ours = output_of(adapted, params, state, x)
    merged = nn.merge_lora(adapted, params)
    # a few layers deep in float32
    # float32: the merged weight is rounded before the product, not after
    np.testing.assert_allclose(ours, output_of(model, merged, state, x), rtol=1e-4, atol=1e-4)
    # attention reads the weight of its output projection instead of calling it
    one = jax.tree.map(
        jnp.zeros_like, params["blocks"]["module"]["attention"]["out_proj"]["lora_B"]
    )
    params["blocks"]["module"]["attention"]["out_proj"]["lora_B"] = one
    # the addition shows
    assert not np.allclose(ours, output_of(adapted, params, state, x), atol=1e-2)


def test_pretrained_weights_load_by_name_and_only_the_addition_trains(rng):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    base, _ = filled(model)
    pretrained = fn.state_dict(model, base)
    adapted = nn.lora(model, "*", rank=2)
    net = fn.functionalize(adapted)
    fresh = fn.state_dict(adapted, *net.init(jax.random.key(0)))
    params, state = fn.load_state_dict(adapted, fresh | pretrained)
    x, y = rng.standard_normal((16, 4), np.float32), rng.standard_normal((16, 2), np.float32)
    np.testing.assert_allclose(
        # float32, rounded once or twice
        output_of(adapted, params, state, x),
        output_of(model, base, {}, x),
        rtol=1e-6,
    )
    assert np.abs(params["0"]["lora_A"]).max() <= 0.5  # uniform within 1 / sqrt(4)
    assert not np.asarray(params["0"]["lora_B"]).any()

    def loss(params):
        return ((net.apply(params, state, x)[0] - y) ** 2).mean()

    trained, frozen = transforms.partition(params, "*lora_*")
    optimizer = optim.adam(1e-2)
    opt_state = optimizer.init(trained)
    assert len(jax.tree.leaves(opt_state)) <= 2 * 4 + 4  # two moments of four arrays, numbers

    @jax.jit
    def step(trained, opt_state):
        value, grads = jax.value_and_grad(lambda t: loss(transforms.merge(t, frozen)))(trained)
        updates, opt_state = optimizer.update(grads, opt_state, trained)
        return optim.apply_updates(trained, updates), opt_state, value

    first = loss(params)
    for _ in range(30):
        trained, opt_state, value = step(trained, opt_state)
    assert value < 0.8 * first
    after = transforms.merge(trained, frozen)
    assert all(after[n]["weight"] is params[n]["weight"] for n in "02")
    np.testing.assert_allclose(
        output_of(model, nn.merge_lora(adapted, after), {}, x),
        output_of(adapted, after, state, x),
        rtol=1e-4,  # float32: the merged weight is rounded before the product, not after
        atol=1e-5,
    )

    # groups of the optimizer do the same
    grouped = optim.groups({"*lora_*": optim.adam(1e-2), "*": None})

    @jax.jit
    def moved(params):
        updates, _ = grouped.update(jax.grad(loss)(params), grouped.init(params), params)
        return optim.apply_updates(params, updates)

    new = moved(params)
    for name in "02":
        np.testing.assert_array_equal(new[name]["weight"], params[name]["weight"])
        assert (new[name]["lora_B"] != 0).any()


def test_sharing_within_the_model_is_kept(rng):
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    adapted = nn.lora(model, "0", rank=1)
    assert adapted[0] is adapted[2]
    params, state = filled(adapted)
    assert list(params) == ["0"]
    x = rng.standard_normal((3, 4), np.float32)
    np.testing.assert_allclose(
        output_of(adapted, params, state, x),
        output_of(model, nn.merge_lora(adapted, params), state, x),
        rtol=1e-4,  # float32: the merged weight is rounded before the product, not after
        atol=1e-5,
    )
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    adapted = nn.lora(tied, "1", rank=1)
    params, _ = filled(adapted)
    assert "weight" not in params["1"]
    with pytest.raises(ValueError, match="the weight of 1 is tied"):
        nn.merge_lora(adapted, params)


def test_dropout_falls_on_the_addition_in_training_only(rng):
    adapted = nn.lora(nn.Linear(4, 6), "*", rank=4, dropout=0.5)
    net, (params, state) = fn.functionalize(adapted), filled(adapted)
    x = rng.standard_normal((8, 4), np.float32)
    run = jax.jit(
        lambda key, train: net.apply(params, state, x, key=key, train=train)[0], static_argnums=1
    )
    a, b = (run(jax.random.key(seed), True) for seed in (0, 1))
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(run(jax.random.key(0), False), run(jax.random.key(1), False))
    # each input of the addition is either zeroed or doubled
    params = jax.tree.map(np.asarray, params)
    addition = params["lora_B"] @ params["lora_A"] * adapted.scale
    plain = x @ params["weight"].T + params["bias"]
    seen = np.linalg.lstsq(addition, np.asarray(a - plain).T, rcond=None)[0].T / x
    np.testing.assert_allclose(seen, 2 * np.round(seen / 2), atol=1e-2)  # float32, solved
    assert set(np.round(seen / 2).ravel()) == {0, 1}
    with pytest.raises(fn.errors.MissingKeyError):
        net.apply(params, state, x, train=True)


def test_sixteen_bits_and_a_dtype_of_its_own(rng):
    layer = nn.Linear(6, 4, dtype=jnp.bfloat16)
    assert nn.lora(layer, "*").lora_A.dtype == jnp.bfloat16
    adapted = nn.lora(layer, "*", rank=2, dtype=jnp.float32)
    params, state = filled(adapted)
    assert params["lora_B"].dtype == jnp.float32
    x = jnp.asarray(rng.standard_normal((3, 6)), jnp.bfloat16)
    ours = output_of(adapted, params, state, x)
    merged = nn.merge_lora(adapted, params)
    assert ours.dtype == merged["weight"].dtype == jnp.bfloat16
    theirs = output_of(layer, merged, state, x)
    # bfloat16 has 8 bits of mantissa, and the merged weight is rounded to them
    np.testing.assert_allclose(np.float32(ours), np.float32(theirs), rtol=5e-2, atol=0.2)


def test_descriptions_are_copied_and_pickled(rng):
    adapted = nn.lora(nn.Sequential(nn.Linear(3, 4), nn.Conv1d(4, 2, 1)), "*", rank=2)
    for other in (copy.deepcopy(adapted), pickle.loads(pickle.dumps(adapted))):
        assert repr(other) == repr(adapted)
        assert type(other[0]) is type(adapted[0])
        assert fn.functionalize(other).init(jax.random.key(0))[0].keys() == {"0", "1"}
    assert "LoRALinear(in_features=3" in repr(adapted)


def test_mistakes():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"'body\.\*' matches no path; there are: 0, 2"):
        nn.lora(model, "body.*")
    with pytest.raises(ValueError, match="matches no path"):
        nn.lora(model, "1")
    with pytest.raises(ValueError, match=r"2\.weight waits for its shape"):
        nn.lora(model, "*")
    with pytest.raises(ValueError, match="0 is adapted already"):
        nn.lora(nn.lora(model, "0"), "0")
    with pytest.raises(ValueError, match="rank must be greater"):
        nn.lora(model, "0", rank=0)
    with pytest.raises(ValueError, match="dropout needs a linear layer"):
        nn.lora(nn.Conv2d(4, 4, 3, groups=2), "*", dropout=0.1)
    with pytest.raises(ValueError, match="no LoRA layer"):
        nn.merge_lora(model, {})
    with pytest.raises(fn.errors.ParameterTreeError, match=r"missing: weight"):
        nn.merge_lora(nn.lora(nn.Linear(2, 2), "*"), {"bias": jnp.ones(2)})
