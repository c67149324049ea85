"""The paper calculation of benchmarks/parallel_costs.py against plans of compiled steps on four devices."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from benchmarks.parallel_costs import Spread, Transformer, held, sent, tables
from examples.models import llama
from funcnet import functional as F
from funcnet import nn, optim, parallel

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "parallel.md"
BLOCKS, WIDTH, WORDS, TIME, BATCH = 3, 32, 64, 8, 16


class Model(nn.Module):
    """Blocks of Llama, repeated, between an embedding and a head."""

    def __init__(self):
        config = llama.LlamaConfig(WORDS, WIDTH, 64, BLOCKS, 4, 4)
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.Repeat(Block(config), BLOCKS, remat=True)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)

    def __call__(self, tokens):
        return self.head(self.blocks(self.embed(tokens)))


class Block(nn.Module):
    """A layer of Llama without a cache."""

    def __init__(self, config):
        self.layer = llama.Layer(config)

    def __call__(self, x):
        return self.layer(x)[0]


TENSOR = {
    "*.self_attn.[qkv]_proj.weight": ("model", None),
    "*.self_attn.o_proj.weight": (None, "model"),
    "*.gate_proj.weight": ("model", None),
    "*.up_proj.weight": ("model", None),
    "*.down_proj.weight": (None, "model"),
}


def sizes() -> Transformer:
    params, _ = jax.eval_shape(fn.functionalize(Model()).init, jax.random.key(0))
    total, block = (sum(x.size for x in jax.tree.leaves(t)) for t in (params, params["blocks"]))
    return Transformer("test", BLOCKS, WIDTH, block // BLOCKS, total - block, BATCH * TIME // 4)


def planned(mesh, rules, zero=None):
    net = parallel.shard(fn.functionalize(Model()), mesh, rules)
    optimizer = parallel.shard_optimizer(optim.adam(1e-3), net, zero=zero)

    def objective(params, state, batch, key, train):
        logits, state = net.apply(params, state, batch["x"], train=train)
        loss = F.cross_entropy(jnp.moveaxis(logits, -1, 1), batch["y"])
        return loss, ({"loss": loss}, state)

    step = jax.jit(fn.training.make_train_step(objective, optimizer), donate_argnums=0)
    run = parallel.abstract(
        lambda key: fn.training.TrainState.create(net, optimizer, key), jax.random.key(0)
    )
    rows = parallel.batch_sharding(mesh)
    tokens = jax.ShapeDtypeStruct((BATCH, TIME), jnp.int32, sharding=rows)
    return parallel.plan(step, run, {"x": tokens, "y": tokens})


def along(plan, axis):
    return sum(one.sent * one.count for one in plan.collectives if one.axes == (axis,))


# beside the formula: the loss, norms that stay whole, and gradients of the few arrays that are not spread
SMALL = 0.03


def test_data_parallel():
    plan = planned(parallel.mesh(data=4), parallel.data_parallel())
    expected = sent(sizes(), Spread(data=4))["data"]
    assert along(plan, "data") == plan.sent == pytest.approx(expected, rel=1e-3)
    memory = held(sizes(), Spread(data=4))
    assert plan.arguments["run.params"] == memory["parameters"]
    assert plan.arguments["run.opt_state"] == pytest.approx(memory["optimizer"], rel=1e-3)


def test_fully_sharded():
    plan = planned(parallel.mesh(data=4), parallel.fully_sharded())
    spread = Spread(data=4, zero="parameters")
    on_cpu = sent(sizes(), spread, reduce_scatter=False)["data"]
    assert plan.sent == pytest.approx(on_cpu, rel=SMALL)
    assert plan.arguments["run.params"] == pytest.approx(
        held(sizes(), spread)["parameters"], rel=SMALL
    )
    assert plan.warnings == ()


def test_tensor_parallel():
    plan = planned(parallel.mesh(data=2, model=2), TENSOR)
    # two forward, one that is computed again, and backward one for each of q, k, v, gate and up: XLA on CPU
    # does not add them up first
    expected = sent(sizes(), Spread(data=2, model=2), sums=2 + 1 + 5)["model"]
    assert along(plan, "model") == pytest.approx(expected, rel=SMALL)
    assert plan.warnings == ()


def test_the_page_has_the_tables():
    assert tables() in PAGE.read_text()


def test_published_sizes():
    from benchmarks.parallel_costs import MODELS

    assert [model.parameters for model in MODELS] == [124_439_808, 6_738_415_616]
