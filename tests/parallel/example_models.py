"""Tiny forms of the example models, each with a loss and a batch, and the strategies that spread them.

`spread_run` trains one; with several processes, each calls it with the same arguments.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from examples.models import bert, gpt2, llama, lstm_lm, resnet, unet, vit
from funcnet import functional as F
from funcnet import optim, parallel
from funcnet.core.paths import map_with_path

BATCH, TIME, WORDS = 8, 6, 32
FEW, ALL = 2, 20
"""Steps: two with one layer, that CI is quick; twenty with two layers."""


@dataclass(frozen=True)
class Example:
    """A model, the kind of its samples, and its rules for tensor parallelism."""

    model: Any
    kind: str
    tensor: dict[str, Any] | None = None
    size: int = 8


EXAMPLES = {
    "gpt2": lambda layers: Example(
        gpt2.GPT2(gpt2.GPT2Config(WORDS, TIME, 32, layers, 4, 0.0, 0.0, 0.0)),
        "text",
        gpt2.TENSOR_PARALLEL,
    ),
    "llama": lambda layers: Example(
        llama.Llama(llama.LlamaConfig(WORDS, 32, 48, layers, 4, 2)), "text", llama.TENSOR_PARALLEL
    ),
    "bert": lambda layers: Example(
        bert.Bert(bert.BertConfig(WORDS, 32, layers, 4, 48, "gelu", 0.0, 0.0, TIME)),
        "features",
        bert.TENSOR_PARALLEL,
    ),
    "vit": lambda layers: Example(
        vit.ViT(vit.ViTConfig(8, 4, 3, 32, layers, 4, 48, num_labels=4)),
        "images",
        vit.TENSOR_PARALLEL,
    ),
    "lstm_lm": lambda layers: Example(
        lstm_lm.LSTMLM(lstm_lm.LSTMConfig(WORDS, 32, 32, layers, dropout=0.0)), "memory"
    ),
    "resnet": lambda layers: Example(
        resnet.ResNet(resnet.ResNetConfig((1, 1, 1, 1), width=8, num_classes=4)), "images", size=32
    ),
    "unet": lambda layers: Example(unet.UNet(unet.UNetConfig(3, 2, 4)), "pixels", size=16),
}

STRATEGIES = ("data", "fsdp", "zero", "tensor", "tensor and fsdp")


def is_possible(name: str, strategy: str) -> bool:
    """Whether a model has rules for a strategy."""
    return "tensor" not in strategy or name in ("gpt2", "llama", "bert", "vit")


def batch_of(example: Example, number: int) -> dict[str, np.ndarray]:
    """Draw a batch."""
    rng = np.random.default_rng(number)
    size = example.size
    if example.kind in ("images", "pixels"):
        shape = (BATCH,) if example.kind == "images" else (BATCH, size, size)
        classes = 4 if example.kind == "images" else 2
        images = rng.standard_normal((BATCH, 3, size, size)).astype(jnp.result_type(float))
        return {"x": images, "y": rng.integers(0, classes, shape, np.int32)}
    words = rng.integers(0, WORDS, (BATCH, TIME + 1), np.int32)
    return {"x": words[:, :-1], "y": words[:, 1:]}


def objective_of(net: Any, kind: str) -> Any:
    """Make what `make_train_step` takes."""

    def objective(params, state, batch, key, train):
        outputs, state = net.apply(params, state, batch["x"], key=key, train=train)
        if kind == "features":  # both outputs take part, as far from zero as from each other
            loss = jnp.square(outputs[0] - 1).mean() + jnp.square(outputs[1] + 1).mean()
        else:
            logits = outputs[0] if kind == "memory" else outputs
            classes_first = logits if kind == "pixels" else jnp.moveaxis(logits, -1, 1)
            loss = F.cross_entropy(classes_first, batch["y"])
        return loss, ({"loss": loss}, state)

    return objective


def rules_of(example: Example, strategy: str) -> dict[str, Any]:
    """Give the rules of a strategy; with FSDP, those of tiny arrays too."""
    beside = example.tensor if "tensor" in strategy else {}
    return parallel.fully_sharded(beside, smallest=64) if "fsdp" in strategy else beside


def optimizer_of(example: Example) -> Any:
    if jax.config.jax_enable_x64:
        return optim.adam(1e-3)
    # In 32 bits Adam makes steps of rounding where a gradient is zero (the keys' biases in attention), and batch norms
    # of eight samples double every difference in a long step.
    return optim.sgd(0.002 if example.kind in ("images", "pixels") else 0.05, momentum=0.9)


def example_of(name: str, steps: int) -> Example:
    """Make an example that fits the number of steps."""
    return EXAMPLES[name](2 if steps == ALL else 1)


@lru_cache
def initial(name: str, steps: int, dtype: Any) -> tuple[Any, Any]:
    """Draw a model's values, of floats of a dtype."""
    net = fn.functionalize(example_of(name, steps).model)
    values = jax.tree.map(np.asarray, net.init(jax.random.key(0)))
    return jax.tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, values)


def train(example: Example, net: Any, optimizer: Any, place: Any, steps: int, values: Any) -> Any:
    """Train; return the losses and the run."""
    step = jax.jit(fn.training.make_train_step(objective_of(net, example.kind), optimizer))
    params, state = values
    zero = jnp.zeros((), jnp.int32)
    run = fn.training.TrainState(params, state, optimizer.init(params), zero, jax.random.key(1))
    losses = []
    for number in range(steps):
        run, metrics = step(run, jax.tree.map(place, batch_of(example, number)))
        losses.append(metrics["loss"])
    return [float(loss) for loss in losses], run


def whole_run(name: str, steps: int) -> tuple[Any, Any]:
    """Train on one device."""
    example = example_of(name, steps)
    net = fn.functionalize(example.model)
    values = jax.tree.map(jnp.asarray, initial(name, steps, jnp.result_type(float)))
    return train(example, net, optimizer_of(example), jnp.asarray, steps, values)


def spread_run(name: str, strategy: str, steps: int, *, born: bool = False) -> tuple[Any, Any]:
    """Train on all devices of all processes.

    Args:
        name: of the model.
        strategy: of `STRATEGIES`.
        steps: how many.
        born: whether values are drawn where they lie, which takes longer to compile than to place drawn ones.
    """
    example = example_of(name, steps)
    tensor = {"model": 2} if "tensor" in strategy else {}
    mesh = parallel.mesh(data=-1, **tensor)
    net = parallel.shard(fn.functionalize(example.model), mesh, rules_of(example, strategy))
    zero = "data" if strategy == "zero" else None
    optimizer = parallel.shard_optimizer(optimizer_of(example), net, zero=zero)

    def place_as(sharding: Any, whole: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    def lies(path: str, whole: np.ndarray) -> jax.Array:
        return place_as(net.placement.sharding(path), whole)

    if born:
        values = net.init(jax.random.key(0))
    else:
        drawn = initial(name, steps, jnp.result_type(float))
        values = tuple(map_with_path(lies, tree) for tree in drawn)
    place = partial(place_as, parallel.batch_sharding(mesh))
    return train(example, net, optimizer, place, steps, values)
