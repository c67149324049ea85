"""Packed sequences: each comes out as it does alone, outputs and gradients, by one program for all lengths."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import data, nn
from funcnet import functional as F

FEATURES = 4
ROWS = np.array(
    [[1, 1, 1, 2, 2, 0, 0], [0, 4, 4, 4, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0], [9, 9, 7, 7, 7, 3, 3]]
)
"""Four rows: padding on both sides, no padding, nothing but padding; numbers that do not rise."""
OTHER_ROWS = np.array(
    [[1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, 2, 2, 0]]
)


def sequences(ids):
    """The places ``(row, positions)`` of every segment, by its length."""
    found = {}
    for row, numbers in enumerate(ids):
        for number in dict.fromkeys(numbers[numbers > 0].tolist()):
            places = np.flatnonzero(numbers == number)
            found.setdefault(len(places), []).append((row, places))
    return {
        length: (np.array([row for row, _ in parts])[:, None], np.array([p for _, p in parts]))
        for length, parts in found.items()
    }


# ---- layers --------------------------------------------------------------------------------------


def recurrent(kind, *args, **settings):
    layer = kind(FEATURES, 3, *args, batch_first=True, **settings)
    return layer, lambda call, x, **options: call(x, **options)[0]


def channels_second(layer):
    return layer, lambda call, x, **options: call(x.swapaxes(1, 2), **options).swapaxes(1, 2)


def attending(layer, **fixed):
    return layer, lambda call, x, **options: call(x, x, x, **fixed, **options)[0]


def causal(x):
    return jnp.triu(jnp.ones((x.shape[1],) * 2, bool), 1)


def decoding(layer):
    def run(call, x, segment_ids=None):
        named = {"tgt_segment_ids": segment_ids, "memory_segment_ids": segment_ids}
        options = {} if segment_ids is None else named
        return call(x, x * 2 + 1, tgt_mask=causal(x), tgt_is_causal=True, **options)

    return layer, run


def both(layer):
    def run(call, x, segment_ids=None):
        named = {"src_segment_ids": segment_ids, "tgt_segment_ids": segment_ids}
        return call(x * 2 + 1, x, tgt_mask=causal(x), **({} if segment_ids is None else named))

    return layer, run


def encoder(**settings):
    return nn.TransformerEncoderLayer(FEATURES, 2, 8, batch_first=True, **settings)


def decoder(**settings):
    return nn.TransformerDecoderLayer(FEATURES, 2, 8, batch_first=True, **settings)


def taking_first(layer):
    return layer, lambda call, x, **options: call(x, **options)[0]


CASES = {
    **{
        f"{kind.__name__}{settings}": recurrent(kind, **settings)
        for kind in (nn.RNN, nn.GRU, nn.LSTM)
        for settings in ({}, {"bidirectional": True, "num_layers": 2})
    },
    "RNN relu": recurrent(nn.RNN, nonlinearity="relu", bidirectional=True),
    "LSTM projected": recurrent(nn.LSTM, proj_size=2, bidirectional=True),
    "GRU without bias": recurrent(nn.GRU, bias=False),
    "MultiheadAttention": attending(nn.MultiheadAttention(FEATURES, 2, batch_first=True)),
    "MultiheadAttention, more keys": attending(
        nn.MultiheadAttention(
            FEATURES, 2, add_bias_kv=True, add_zero_attn=True, kdim=FEATURES, batch_first=True
        ),
        need_weights=False,
    ),
    "TransformerEncoder": (
        nn.TransformerEncoder(encoder(norm_first=True), 1),
        lambda call, x, **options: call(x, mask=causal(x), is_causal=True, **options),
    ),
    "TransformerEncoderLayer": (
        encoder(activation="gelu"),
        lambda call, x, **options: call(x, **options),
    ),
    "TransformerDecoder": decoding(nn.TransformerDecoder(decoder(), 1)),
    "Transformer": both(nn.Transformer(FEATURES, 2, 1, 1, 8, batch_first=True)),
    "GroupedQueryAttention": taking_first(
        nn.GroupedQueryAttention(FEATURES, 2, 1, rotary=nn.RotaryEmbedding(2), bias=True)
    ),
    "GroupedQueryAttention both ways": taking_first(
        nn.GroupedQueryAttention(FEATURES, 2, is_causal=False, implementation="chunked")
    ),
    "InstanceNorm1d": channels_second(nn.InstanceNorm1d(FEATURES, affine=True)),
    "GroupNorm": channels_second(nn.GroupNorm(2, FEATURES)),
}


QUICK = ("LSTM projected", "MultiheadAttention", "GroupedQueryAttention", "GroupNorm")
ON_PROGRAMS = ("LSTM{}", "GroupedQueryAttention", "TransformerEncoderLayer", "GroupNorm")
ON_DEVICES = (
    "GRU{}",
    "GroupedQueryAttention",
    "TransformerEncoderLayer",
    "GroupNorm",
    "Transformer",
)


def pytest_generate_tests(metafunc):
    """A few layers of each kind; with ``--grid=full`` all of them."""
    full = metafunc.config.getoption("grid") == "full"
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES if full else QUICK)
    if "one_program" in metafunc.fixturenames:
        metafunc.parametrize("one_program", ON_PROGRAMS[: 4 if full else 2])
    if "padded" in metafunc.fixturenames:
        products = list(product([False, True], ["float32", "bfloat16", "float16"]))
        metafunc.parametrize("padded", products[:: 1 if full else 4], ids=str)
    if "goes_on" in metafunc.fixturenames:
        metafunc.parametrize("goes_on", [nn.LSTM, nn.GRU][: 1 + full])
    if "batch_first" in metafunc.fixturenames:
        metafunc.parametrize("batch_first", [False, True][: 1 + full])
    if "on_devices" in metafunc.fixturenames:
        kinds = [AxisType.Explicit, AxisType.Auto][: 1 + full]
        names = ON_DEVICES if full else ON_DEVICES[:1]
        products = [(name, kind) for name in names for kind in kinds]
        metafunc.parametrize(("on_devices", "kind"), products, ids=str)


def arrays_of(layer, rng, dtype=np.float32):
    net = fn.functionalize(layer)
    params, state = jax.jit(net.init)(jax.random.key(0))
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype), params)
    x = rng.normal(size=(*ROWS.shape, FEATURES)).astype(dtype)
    return net, params, state, x


def test_a_packed_sequence_is_what_it_is_alone(case, rng):
    layer, run = CASES[case]
    net, params, state, x = arrays_of(layer, rng)
    x[ROWS == 0] = np.nan
    factors = rng.normal(size=(*ROWS.shape, 1)).astype(np.float32)
    parts = sequences(ROWS)

    def packed(params, x):
        call = lambda *args, **options: net.apply(params, state, *args, **options)[0]
        output = run(call, x, segment_ids=jnp.asarray(ROWS))
        found = {length: output[place] for length, place in parts.items()}
        return sum((out * factors[parts[n]]).sum() for n, out in found.items()), (found, output)

    def alone(params, x):
        call = lambda *args, **options: net.apply(params, state, *args, **options)[0]
        found = {length: run(call, x[place]) for length, place in parts.items()}
        return sum((out * factors[parts[n]]).sum() for n, out in found.items()), (found, None)

    both = jax.jit(
        lambda *given: [jax.grad(f, (0, 1), has_aux=True)(*given) for f in (packed, alone)]
    )
    (grads, (outputs, whole)), (expected_grads, (expected, _)) = both(params, x)
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # float32
    jax.tree.map(compare, outputs, expected)
    jax.tree.map(compare, grads, expected_grads)
    assert np.isfinite(whole).all()
    if "Norm" in case or case.startswith(("RNN", "GRU", "LSTM")):
        assert (np.asarray(whole)[ROWS == 0] == 0).all()


def test_one_program_serves_all_lengths(one_program, rng):
    layer, run = CASES[one_program]
    net, params, state, x = arrays_of(layer, rng)
    traced = []

    @jax.jit
    def apply(params, x, ids):
        traced.append(ids)
        call = lambda *args, **options: net.apply(params, state, *args, **options)[0]
        return run(call, x, segment_ids=ids)

    first, second = apply(params, x, ROWS), apply(params, x, OTHER_ROWS)
    assert len(traced) == 1
    assert np.abs(np.asarray(first) - np.asarray(second)).max() > 1e-3
    # a row that is one sequence is what it is without segments
    call = lambda *args, **options: net.apply(params, state, *args, **options)[0]
    whole = jax.jit(lambda x: run(call, x))(x[:1])
    np.testing.assert_allclose(second[:1], whole, rtol=1e-4, atol=1e-6)


def test_rows_that_lie_on_several_devices(on_devices, kind, rng):
    layer, run = CASES[on_devices]
    net, params, state, x = arrays_of(layer, rng)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    rows = NamedSharding(mesh, PartitionSpec("data"))

    def loss(params, x, ids):
        call = lambda *args, **options: net.apply(params, state, *args, **options)[0]
        output = run(call, x, segment_ids=ids)
        return (output * jnp.where(ids != 0, 1.0, 0.0)[..., None] ** 2).sum(), output

    grad = jax.jit(jax.grad(loss, has_aux=True))
    expected = grad(params, x, ROWS)
    with jax.set_mesh(mesh):
        found = grad(params, *jax.device_put((x, ROWS), rows))
    assert found[1].sharding.spec[0] == "data"
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # float32
    jax.tree.map(compare, found, expected)


def test_the_first_segment_goes_on_from_the_given_state(goes_on, rng):
    """A document cut at the end of a row goes on in the next one; the state is the row's, not each segment's."""
    net, params, state, x = arrays_of(goes_on(FEATURES, 3, batch_first=True), rng)
    apply = jax.jit(net.apply)
    x = x[:1]
    whole, _ = apply(params, state, x)[0]
    ids = np.array([[2, 2, 2, 2]])
    _, carried = apply(params, state, x[:, :4], segment_ids=ids)[0]
    rest, final = apply(params, state, x[:, 3:], carried, segment_ids=np.array([[1, 3, 3, 0]]))[0]
    again, last = apply(params, state, x[:, 4:6], segment_ids=np.array([[3, 3]]))[0]
    np.testing.assert_allclose(
        carried[0] if goes_on is nn.LSTM else carried, whole[None, :, 3], rtol=1e-5
    )
    np.testing.assert_allclose(rest[:, 1:3], again, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), final, last)


def test_segments_have_one_layout_whatever_the_input_has(batch_first, rng):
    x = rng.normal(size=(*ROWS.shape, FEATURES)).astype(np.float32)
    layers = (
        nn.GRU(FEATURES, 3, batch_first=batch_first),
        nn.MultiheadAttention(FEATURES, 2, batch_first=batch_first),
    )
    for layer in layers:
        net = fn.functionalize(layer)
        params, state = jax.jit(net.init)(jax.random.key(0))
        given = x if batch_first else x.swapaxes(0, 1)
        inputs = (given,) if isinstance(layer, nn.GRU) else (given,) * 3
        output = jax.jit(net.apply)(params, state, *inputs, segment_ids=ROWS)[0][0]
        output = output if batch_first else output.swapaxes(0, 1)
        alone, _ = jax.jit(net.apply)(params, state, *(x[0],) * len(inputs), segment_ids=ROWS[0])
        np.testing.assert_allclose(output[0], alone[0], rtol=1e-5, atol=1e-6)


# ---- from documents to a loss --------------------------------------------------------------------


class LanguageModel(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.GroupedQueryAttention(8, 2, rotary=nn.RotaryEmbedding(4))
        self.norm = nn.RMSNorm(8)
        self.head = nn.Linear(8, 20)

    def __call__(self, tokens, segment_ids=None):
        x = self.embedding(tokens)
        x = x + self.attention(self.norm(x), segment_ids=segment_ids)[0]
        return self.head(x)


def test_a_packed_loss_is_the_mean_over_all_tokens_that_have_a_next_one(rng):
    documents = [rng.integers(1, 20, size).astype(np.int32) for size in (4, 4, 4, 4, 4)]
    rows = data.collate(list(data.pack(documents, 9, split=False)))
    net = fn.functionalize(LanguageModel())
    params, state = jax.jit(net.init)(jax.random.key(0))

    @jax.jit
    def packed(params, tokens, segment_ids):
        logits = net.apply(params, state, tokens, segment_ids)[0]
        targets = F.next_token_targets(tokens, segment_ids)
        each = F.cross_entropy(logits.swapaxes(1, 2), targets, reduction="none")
        mean = F.cross_entropy(logits.swapaxes(1, 2), targets)
        means = F.segment_mean(each[:, :-1], jnp.where(targets != -100, segment_ids, 0)[:, :-1], 3)
        return mean, means

    @jax.jit
    def alone(params, tokens):
        logits = net.apply(params, state, tokens[None])[0][0]
        return F.cross_entropy(logits[:-1], tokens[1:])

    mean, means = packed(params, rows["tokens"], rows["segment_ids"])
    each = np.array([alone(params, document) for document in documents])
    counts = np.array([len(document) - 1 for document in documents], np.float32)
    np.testing.assert_allclose(mean, (each * counts).sum() / counts.sum(), rtol=1e-5)
    np.testing.assert_allclose(means[means != 0], each, rtol=1e-5)
    grad = jax.jit(jax.grad(lambda p: packed(p, rows["tokens"], rows["segment_ids"])[0]))(params)
    both = lambda p: (
        sum(alone(p, d) * n for d, n in zip(documents, counts, strict=True)) / counts.sum()
    )
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(compare, grad, jax.jit(jax.grad(both))(params))


def test_batch_norm_of_padded_sequences_is_that_of_their_tokens(padded, rng):
    channels_last, dtype = padded[0], jnp.dtype(padded[1])
    mask = np.asarray(F.length_mask(np.array([2, 5, 0]), 5))
    x = rng.normal(size=(3, 5, 2)).astype(np.float32) * 3 + 20
    x[~mask] = np.nan
    x, factors = jnp.asarray(x, dtype), rng.normal(size=(7, 2)).astype(np.dtype(dtype))
    net = fn.functionalize(nn.BatchNorm1d(2, channels_last=channels_last))
    flat = fn.functionalize(nn.BatchNorm1d(2))
    params, state = net.init(jax.random.key(0))
    swap = (lambda x: x) if channels_last else (lambda x: x.swapaxes(1, 2))

    def whole(params, x, train):
        output, new = net.apply(params, state, swap(x), where=mask, train=train)
        return (swap(output)[mask] * factors).sum().astype(jnp.float32), (swap(output), new)

    def tokens(params, x, train):
        output, new = flat.apply(params, state, x[mask], train=train)
        return (output * factors).sum().astype(jnp.float32), (output, new)

    for train in (False, True):
        run = jax.jit(
            lambda *given: [
                jax.grad(f, (0, 1), has_aux=True)(*given, train) for f in (whole, tokens)
            ]
        )
        (grads, (output, new)), (expected_grads, (expected, expected_new)) = run(params, x)
        bits = (
            {"rtol": 1e-4, "atol": 1e-5} if dtype == jnp.float32 else {"rtol": 1e-2, "atol": 2e-2}
        )
        compare = lambda a, b: np.testing.assert_allclose(
            *(np.asarray(z, np.float32) for z in (a, b)), **bits
        )
        compare(output[mask], expected)
        assert (output[~mask] == 0).all()
        jax.tree.map(compare, (grads, new), (expected_grads, expected_new))


def test_a_batch_of_padding_leaves_running_statistics_alone():
    x, old = jnp.full((2, 3, 4), jnp.nan), (jnp.ones(3), jnp.full(3, 2.0))
    output, *new = F.batch_norm_update(x, *old, where=np.zeros((2, 4), bool))
    assert (output == 0).all()
    assert all(map(jnp.array_equal, new, old))
