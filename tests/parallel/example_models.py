"""Tiny forms of the example models, each with a loss and a batch, and the strategies that spread them.

`spread_run` trains one; with several processes, each calls it with the same arguments.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from examples.models import bert, gpt2, llama, lstm_lm, resnet, unet, vit
from funcnet import functional as F
from funcnet import optim, parallel

BATCH, TIME, WORDS = 8, 6, 32


@dataclass(frozen=True)
class Example:
    """A model, the kind of its samples, and its rules for tensor parallelism."""

    model: Any
    kind: str
    tensor: dict[str, Any] | None = None
    size: int = 8


EXAMPLES = {
    "gpt2": lambda: Example(
        gpt2.GPT2(gpt2.GPT2Config(WORDS, TIME, 32, 2, 4, 0.0, 0.0, 0.0)),
        "text",
        gpt2.TENSOR_PARALLEL,
    ),
    "llama": lambda: Example(
        llama.Llama(llama.LlamaConfig(WORDS, 32, 48, 2, 4, 2)), "text", llama.TENSOR_PARALLEL
    ),
    "bert": lambda: Example(
        bert.Bert(bert.BertConfig(WORDS, 32, 2, 4, 48, "gelu", 0.0, 0.0, TIME)),
        "features",
        bert.TENSOR_PARALLEL,
    ),
    "vit": lambda: Example(
        vit.ViT(vit.ViTConfig(8, 4, 3, 32, 2, 4, 48, num_labels=4)), "images", vit.TENSOR_PARALLEL
    ),
    "lstm_lm": lambda: Example(
        lstm_lm.LSTMLM(lstm_lm.LSTMConfig(WORDS, 32, 32, 2, dropout=0.0)), "memory"
    ),
    "resnet": lambda: Example(
        resnet.ResNet(resnet.ResNetConfig((1, 1, 1, 1), width=8, num_classes=4)), "images", size=32
    ),
    "unet": lambda: Example(unet.UNet(unet.UNetConfig(3, 2, 4)), "pixels", size=16),
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
        images = rng.standard_normal((BATCH, 3, size, size)).astype(np.float32)
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


def optimizer_of() -> Any:
    # Adam divides by what is nearly zero in the first steps, which no two orders of sums survive to 1e-5
    return optim.sgd(0.05, momentum=0.9)


def train(example: Example, net: Any, optimizer: Any, place: Any, steps: int) -> tuple[Any, Any]:
    """Train; return the losses and the run."""
    step = jax.jit(fn.training.make_train_step(objective_of(net, example.kind), optimizer))
    run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
    losses = []
    for number in range(steps):
        run, metrics = step(run, jax.tree.map(place, batch_of(example, number)))
        losses.append(metrics["loss"])
    return [float(loss) for loss in losses], run


def whole_run(name: str, steps: int) -> tuple[Any, Any]:
    """Train on one device."""
    example = EXAMPLES[name]()
    net = fn.functionalize(example.model)
    return train(example, net, optimizer_of(), jnp.asarray, steps)


def spread_run(name: str, strategy: str, steps: int) -> tuple[Any, Any]:
    """Train on all devices of all processes."""
    example = EXAMPLES[name]()
    tensor = {"model": 2} if "tensor" in strategy else {}
    mesh = parallel.mesh(data=-1, **tensor)
    net = parallel.shard(fn.functionalize(example.model), mesh, rules_of(example, strategy))
    zero = "data" if strategy == "zero" else None
    optimizer = parallel.shard_optimizer(optimizer_of(), net, zero=zero)
    sharding = parallel.batch_sharding(mesh)

    def place(whole: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return train(example, net, optimizer, place, steps)
