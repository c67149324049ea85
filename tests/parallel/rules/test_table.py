"""Rule tables: which place an array gets, and every mistake that a table can hold."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import funcnet as fn
from funcnet import nn, parallel

MESH = parallel.mesh(data=2, model=2)


class Model(nn.Module):
    """An embedding tied to the head, a repeated block, experts, and buffers."""

    def __init__(self):
        expert = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.tokens = nn.Embedding(64, 8)
        self.blocks = nn.Repeat(nn.Sequential(nn.Linear(8, 8), nn.Tanh()), 3)
        self.experts = nn.MixtureOfExperts(expert, 8, 4)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 64, bias=False)
        self.head.weight = self.tokens.weight
        self.odd = nn.Linear(9, 7)

    def __call__(self, x):
        x, _ = self.experts(self.blocks(self.tokens(x)))
        return self.head(x)


NET = fn.functionalize(Model())


def specs(rules, mesh=MESH):
    return parallel.shard(NET, mesh, rules).placement.specs


PLACES = [
    ("blocks.module.0.weight", ("model", None), P(None, "model")),
    ("blocks.module.0.weight", (None, "model"), P(None, None, "model")),
    ("blocks.module.0.weight", P("model", "data"), P(None, "model", "data")),
    ("blocks.module.0.weight", ["data"], P(None, "data")),
    ("blocks.module.0.weight", (("data", "model"),), P(None, ("data", "model"))),
    ("blocks.module.0.weight", None, P()),
    ("blocks.module.0.weight", (), P()),
    ("blocks.module.0.weight", "fsdp", P()),  # 64 numbers are few
    ("blocks.module.0.weight", parallel.fsdp(smallest=1), P(None, "data")),
    ("blocks.module.0.weight", parallel.fsdp(("model",), smallest=1), P(None, "model", "data")),
    ("tokens.weight", parallel.fsdp(smallest=512), P("data")),  # the larger dimension
    ("tokens.weight", parallel.fsdp((None, "model"), smallest=1), P("data", "model")),
    ("tokens.weight", parallel.fsdp(("model", None), smallest=1), P("model", "data")),
    ("odd.bias", parallel.fsdp(smallest=1), P()),  # 7 does not divide
    ("odd.weight", parallel.fsdp(smallest=1), P()),
    ("norm.running_mean", ("model",), P("model")),
    ("norm.num_batches_tracked", parallel.fsdp(smallest=1), P()),
    ("experts.experts.module.0.weight", parallel.copies("model"), P("model")),
    ("experts.experts.module.0.weight", parallel.copies("model", (None, "data")), P("model", None, "data")),
    (
        "experts.experts.module.0.weight",
        parallel.copies("model", parallel.fsdp(smallest=1)),
        P("model", "data"),
    ),
    ("experts.experts.module.0.weight", parallel.copies(("data", "model")), P(("data", "model"))),
]  # fmt: skip


@pytest.mark.parametrize(("path", "place", "expected"), PLACES, ids=str)
def test_places(path, place, expected):
    found = specs({path: place})
    assert found[path] == expected
    assert not any(any(spec) for other, spec in found.items() if other != path)


def test_the_first_match_wins_and_the_rest_is_whole():
    small = parallel.fsdp(smallest=1)
    found = specs({"*.0.weight": ("model", None), "*.weight": small, "norm.bias": ("model",)})
    assert found["blocks.module.0.weight"] == P(None, "model")
    assert found["tokens.weight"] == P("data")
    assert found["norm.weight"] == P("data")
    assert found["norm.bias"] == P("model")
    assert found["blocks.module.0.bias"] == P()


ONE = "tokens.weight"
OUT = parallel.output("data", None)
MISTAKES = {
    "matches nothing": ({"*.wieght": None}, ValueError, r"'\*.wieght' matches no array; there are: tokens.weight"),
    "matches a module alone": ({"blocks": None}, ValueError, "matches no array"),
    "is another name": ({"head.weight": None}, ValueError, "head.weight is another name of tokens.weight; write that"),
    "output matches nothing": ({"norms": OUT}, ValueError, "'norms' matches no module"),
    "never applies": ({"*": None, ONE: "fsdp"}, ValueError, r"never applies: .*\(tokens.weight\).* rules \('\*'\)"),
    "output never applies": ({"*": OUT, "norm": OUT}, ValueError, "never applies"),
    "no such axis": ({ONE: ("modle", None)}, ValueError, "no axis 'modle'; it has 'data', 'model'"),
    "no such axis of an output": ({"norm": parallel.output("seq")}, ValueError, "no axis 'seq'"),
    "does not divide": ({"odd.weight": ("model", None)}, ValueError, r"dimension 0 of shape \(7, 9\) does not"),
    "does not divide by both": ({"odd.bias": (("data", "model"),)}, ValueError, "does not divide into 4"),
    "an axis twice": ({ONE: ("model", "model")}, ValueError, "uses the axis 'model' twice"),
    "an axis twice in a tuple": ({ONE: (("model", "model"),)}, ValueError, "twice"),
    "fsdp twice": ({ONE: parallel.fsdp(("data", None))}, ValueError, "spreads over the axis 'data' twice"),
    "too many entries": ({ONE: (None, None, "model")}, ValueError, r"has 3 entries, and the array has shape \(64, 8\)"),
    "another word": ({ONE: "model"}, TypeError, r"write \('model',\)"),
    "a number": ({ONE: 1}, TypeError, "a place is None"),
    "numbers": ({ONE: (0, None)}, TypeError, "a place is None"),
    "copies of no stack": ({ONE: parallel.copies("model")}, ValueError, "is no stack"),
    "copies that do not divide": ({"blocks.*": parallel.copies("model")}, ValueError, "does not divide"),
    "an axis for copies and each": (
        {"experts.experts.*": parallel.copies("model", ("model",))}, ValueError, "uses the axis 'model' twice"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_with_what_to_write(name):
    rules, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        specs(rules)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: parallel.fsdp("fsdp"), TypeError, "fsdp takes a tuple"),
        (lambda: parallel.fsdp(parallel.copies("model")), TypeError, "fsdp takes a tuple"),
        (lambda: parallel.copies(None), TypeError, "the name of an axis"),
        (lambda: parallel.copies("model", OUT), TypeError, "the place of each copy"),
        (lambda: parallel.output(3), TypeError, "a place is None"),
        (
            lambda: parallel.join_rules({"*": None}, {"*": "fsdp"}),
            ValueError,
            r"disagree on '\*': None and 'fsdp'",
        ),
        (
            lambda: parallel.tensor_parallel(nn.ReLU()),
            ValueError,
            "finds no layer that it knows in ReLU",
        ),
        (lambda: parallel.sequence_parallel(nn.ReLU()), ValueError, "finds no norm"),
        (
            lambda: parallel.expert_parallel(NET.module.norm),
            ValueError,
            "finds no nn.MixtureOfExperts",
        ),
        (
            lambda: specs({"*": "fsdp"}, parallel.mesh(model=4)),
            ValueError,
            "an axis of the mesh named 'fsdp' or 'data'",
        ),
    ],
)
def test_words_that_cannot_be_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_tables_are_joined_in_order_and_may_agree():
    joined = parallel.join_rules({"a": None, "b": "fsdp"}, {"b": "fsdp", "c": ("model",)})
    assert list(joined.items()) == [("a", None), ("b", "fsdp"), ("c", ("model",))]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_rules_do_not_depend_on_order_where_they_do_not_overlap(order):
    rules = [
        ("tokens.*", ("model",)),
        ("norm.*", None),
        ("experts.experts.*", parallel.copies("data")),
    ]
    assert specs(dict(rules[number] for number in order)) == specs(dict(rules))


def test_an_output_is_spread_and_nothing_else_changes():
    sharded = parallel.shard(NET, MESH, {"blocks*": parallel.output("data", "model", None)})
    params, state = NET.init(jax.random.key(0))
    tokens = jnp.arange(16).reshape(4, 4)
    seeing = fn.capture(sharded, "blocks")
    (output, seen), _ = jax.jit(seeing.apply)(params, state, tokens)
    assert seen["blocks"].sharding.is_equivalent_to(
        jax.sharding.NamedSharding(MESH, P("data", "model")), 3
    )
    np.testing.assert_allclose(output, jax.jit(NET.apply)(params, state, tokens)[0], atol=1e-5)
    wrong = parallel.shard(NET, MESH, {"tokens": parallel.output("data", "model", None, None)})
    with pytest.raises(ValueError, match="no array has 4 dimensions"):
        wrong.apply(params, state, tokens)


def test_description_names_every_array_with_its_pattern():
    text = parallel.shard(NET, MESH, {"blocks*": OUT, "*s.weight": ("model",)}).placement.describe()
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert set(lines) >= {"tokens.weight", "norm.running_mean", "total", "blocks"}
    assert lines["tokens.weight"].endswith("1,024  '*s.weight'")


def test_rule_sets_know_the_layers_of_nn():
    class Both(nn.Module):
        def __init__(self):
            self.grouped = nn.GroupedQueryAttention(16, 4, 2)
            self.decoder = nn.TransformerDecoderLayer(16, 4, 32)
            self.other = nn.MultiheadAttention(16, 4, kdim=8)
            self.mlp = nn.Sequential(
                nn.Linear(16, 32), nn.GELU(), nn.Dropout(), nn.Linear(32, 16), nn.Linear(16, 16)
            )
            self.tokens = nn.Embedding(32, 16)

    model = Both()
    rules = parallel.tensor_parallel(model)
    assert rules["grouped.q_proj.weight"] == rules["grouped.v_proj.weight"] == ("model", None)
    assert rules["grouped.o_proj.weight"] == rules["decoder.linear2.weight"] == (None, "model")
    assert rules["decoder.multihead_attn.in_proj_weight"] == ("model", None)
    assert rules["other.k_proj_weight"] == ("model", None)
    assert rules["mlp.0.weight"] == ("model", None)
    assert rules["mlp.3.weight"] == (None, "model")
    assert "mlp.4.weight" not in rules
    assert rules["tokens.weight"] == ("model", None)
    assert "tokens.weight" not in parallel.tensor_parallel(model, vocabulary=False)
    sequence = parallel.sequence_parallel(model)
    assert sequence["decoder.norm3"] == parallel.output(
        "model", "data", None
    )  # the batch comes second
    net = fn.functionalize(model)
    everything = parallel.fully_sharded(parallel.join_rules(rules, sequence), smallest=1)
    found = parallel.shard(net, MESH, everything).placement
    assert found.specs["decoder.linear1.weight"] == P("model", "data")
    assert found.outputs["decoder.norm1"] == P("model", "data", None)
