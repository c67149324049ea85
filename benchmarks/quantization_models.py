"""The two models that `benchmarks/quantization.py` makes smaller, trained once and kept in a folder."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import funcnet as fn
from examples import char_gpt, mnist
from funcnet import checkpoint, data, optim, training
from funcnet import functional as F

CONTEXT, WIDTH, LAYERS, HEADS = 64, 128, 4, 4


class Trained(NamedTuple):
    """A model with its arrays, and how well it does."""

    module: Any
    params: Any
    state: Any


def texts() -> tuple[int, np.ndarray, np.ndarray]:
    """Return the size of the alphabet, and windows of Shakespeare to train on and held out."""
    text = data.shakespeare()
    index = {character: i for i, character in enumerate(sorted(set(text)))}
    tokens = np.array([index[character] for character in text], np.int32)
    split = int(0.9 * len(tokens))
    train = char_gpt.windows(tokens[:split], CONTEXT, stride=16)
    held_out = char_gpt.windows(tokens[split:], CONTEXT, stride=CONTEXT)
    return len(index), train[:]["tokens"], held_out[:]["tokens"]


def gpt(folder: Path, steps: int) -> Trained:
    """Return the character GPT, trained by as many steps as `examples/char_gpt.py` takes, or as it was kept."""
    vocabulary, train, _ = texts()
    model = char_gpt.CharGPT(vocabulary, CONTEXT, WIDTH, LAYERS, HEADS, 0.0)

    def learn() -> tuple[Any, Any]:
        net = fn.functionalize(model)
        optimizer = char_gpt.make_optimizer(4e-3, 0.02, steps)
        params, state = net.init(jax.random.key(0))
        return stepped(model, params, state, optimizer, train, steps, 16), state

    return _kept(folder / f"gpt{steps}.safetensors", model, learn)


def stepped(
    model: Any, params: Any, state: Any, optimizer: Any, tokens: np.ndarray, steps: int, size: int
) -> Any:
    """Train a GPT for some steps, and return its params."""
    loss_of = fn.functionalize(model.loss)
    memory = optimizer.init(params)
    draw = np.random.default_rng(0)

    @jax.jit
    def step(params: Any, memory: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            return loss_of.apply(params, state, batch, train=False)[0]

        value, grads = jax.value_and_grad(loss)(params)
        updates, memory = optimizer.update(grads, memory, params)
        return optim.apply_updates(params, updates), memory, value

    for number in range(steps):
        batch = tokens[draw.integers(0, len(tokens), size)]
        params, memory, value = step(params, memory, batch)
        if number % 100 == 0:
            print(f"step {number}: {float(value):.3f}", flush=True)
    return params


def digits(folder: Path, epochs: int) -> Trained:
    """Return the network of `examples/mnist.py`, trained on the embedded digits, or as it was kept."""
    model = mnist.DigitNet()

    def learn() -> tuple[Any, Any]:
        net = fn.functionalize(model)
        loader = data.DataLoader(data.mnist()[0], batch_size=128, shuffle=True, drop_last=True)
        steps = epochs * len(loader)
        schedule = optim.schedules.warmup_cosine(2e-3, steps // 10, steps)
        optimizer = optim.adamw(schedule, weight_decay=0.05)
        objective = training.supervised(net, F.cross_entropy, inputs=mnist.images_of)
        run = training.TrainState.create(net, optimizer, jax.random.key(0))
        run, _ = training.fit(objective, optimizer, run, loader, epochs=epochs)
        return run.params, run.state

    return _kept(folder / f"digits{epochs}.safetensors", model, learn)


def _kept(file: Path, model: Any, learn: Any) -> Trained:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_weights(file, model, *learn())
    params, state = checkpoint.load_weights(file, model)
    # copied, because arrays that lie in a file's pages would make the first model slower than the others
    return Trained(model, *jax.tree.map(lambda a: jnp.array(np.array(a)), (params, state)))


if __name__ == "__main__":
    gpt(Path(sys.argv[1]), int(sys.argv[2]))
    digits(Path(sys.argv[1]), int(sys.argv[3]))
