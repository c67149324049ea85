"""Train a small causal transformer on Shakespeare's characters and let it write.

python examples/char_gpt.py               # two minutes on two cores
python examples/char_gpt.py --steps 2000 --layers 6 --prompt "ROMEO:"
"""

import argparse
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F

AnyLayer = TypeVar("AnyLayer", nn.Linear, nn.Embedding)


def from_normal(layer: AnyLayer, std: float) -> AnyLayer:
    """Let a layer's weight start from N(0, std²) instead of PyTorch's default."""
    layer.weight = fn.Parameter(layer.weight.shape, nn.init.normal(std=std))
    return layer


class Block(nn.Module):
    """Causal self-attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, width: int, heads: int, dropout: float, out_std: float) -> None:
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = from_normal(nn.Linear(width, 3 * width, bias=False), width**-0.5)
        self.project = from_normal(nn.Linear(width, width, bias=False), out_std)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            from_normal(nn.Linear(width, 4 * width), width**-0.5),
            nn.GELU(),
            from_normal(nn.Linear(4 * width, width), out_std),
        )
        self.dropout = nn.Dropout(dropout)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        batch, time, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, time, 3, self.heads, -1)
        q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2))  # each (N, heads, T, D / heads)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.project(jnp.moveaxis(attended, 1, 2).reshape(batch, time, width)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class CharGPT(nn.Module):
    """A causal transformer whose output layer is its embedding's weight.

    It starts much as GPT-2 does. Tokens and positions are equally small: positions from N(0, 1), an
    `nn.Embedding`'s default, would drown the tokens. What a block adds to the shortcut is smaller still,
    because all of them add up.
    """

    def __init__(
        self, vocabulary: int, context: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        self.tokens = from_normal(nn.Embedding(vocabulary, width), 0.02)
        self.positions = from_normal(nn.Embedding(context, width), 0.02)
        out_std = 0.02 / (2 * layers) ** 0.5
        self.blocks = [Block(width, heads, dropout, out_std) for _ in range(layers)]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight  # tying is assignment

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to the next tokens' logits ``(N, T, vocabulary)``."""
        return self.head(self.features(tokens))

    def features(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to what the output layer reads, ``(N, T, D)``."""
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        return self.norm(self.through_blocks(x))

    def through_blocks(self, x: jax.Array) -> jax.Array:
        """Apply the blocks in turn."""
        for block in self.blocks:
            x = block(x)
        return x

    def loss(self, tokens: jax.Array) -> jax.Array:
        """Return how badly each token of ``(N, T)`` is foretold by those before it, in nats.

        The logits of a large vocabulary would need more memory than all else: here they never exist at once.
        """
        features = self.features(tokens[:, :-1])
        return F.linear_cross_entropy(
            features.reshape(-1, features.shape[-1]), self.head.weight, tokens[:, 1:].reshape(-1)
        )


def generate(
    net: fn.Functional,
    params: Any,
    key: jax.Array,
    prompt: np.ndarray,
    length: int,
    context: int,
    temperature: float,
) -> np.ndarray:
    """Sample ``length`` tokens after a prompt, in one jitted loop."""

    @jax.jit
    def sample(params: Any, key: jax.Array) -> jax.Array:
        tokens = jnp.zeros(len(prompt) + length, jnp.int32).at[: len(prompt)].set(prompt)

        def write(position: jax.Array, tokens: jax.Array) -> jax.Array:
            start = jnp.maximum(0, position - context)
            window = jax.lax.dynamic_slice(tokens, (start,), (min(context, tokens.size),))
            logits = net.apply(params, {}, window[None])[0][0, position - 1 - start]
            drawn = jax.random.categorical(jax.random.fold_in(key, position), logits / temperature)
            return tokens.at[position].set(drawn)

        return jax.lax.fori_loop(len(prompt), tokens.size, write, tokens)

    return np.asarray(sample(params, key))


def make_optimizer(lr: float, matrix_lr: float, steps: int) -> optim.GradientTransformation:
    """Make Muon for the blocks' matrices, whose orthogonal steps suit a short run, and AdamW for the rest."""
    rate = optim.schedules.warmup_cosine(lr, max(1, steps // 10), steps)
    matrix_rate = optim.schedules.warmup_cosine(matrix_lr, max(1, steps // 20), steps)
    adamw = partial(optim.adamw, rate, betas=(0.9, 0.98))
    members = {
        "*norm*": adamw(weight_decay=0.0),  # scales start at one: zero is no place to pull them to
        "blocks.*.weight": optim.muon(matrix_rate),
        "*": adamw(weight_decay=0.1),
    }
    return optim.chain(optim.clip_by_global_norm(1.0), optim.groups(members))


def windows(tokens: np.ndarray, context: int, stride: int) -> data.ArrayDataset:
    """View a text as overlapping windows of ``context`` tokens and the one that follows, without a copy."""
    return data.ArrayDataset(
        {"tokens": np.lib.stride_tricks.sliding_window_view(tokens, context + 1)[::stride]}
    )


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument(
        "--dropout", type=float, default=0.0, help="for runs that read a text twice"
    )
    parser.add_argument("--lr", type=float, default=4e-3, help="peak rate of AdamW")
    parser.add_argument("--matrix-lr", type=float, default=0.02, help="peak rate of Muon")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt", default="ROMEO:\n")
    parser.add_argument("--length", type=int, default=400, help="characters to generate")
    parser.add_argument("--temperature", type=float, default=0.8)
    args = parser.parse_args()
    fn.keep_memory()

    text = data.shakespeare()
    alphabet = sorted(set(text))
    index = {character: i for i, character in enumerate(alphabet)}
    tokens = np.array([index[character] for character in text], np.int32)
    split = int(0.9 * len(tokens))
    train = windows(tokens[:split], args.context, stride=16)
    held_out = windows(tokens[split:], args.context, stride=args.context)
    # one long epoch: as many windows as all steps need, in one random order after another
    order = data.RandomSampler(train, num_samples=args.steps * args.batch_size)
    loader = data.DataLoader(train, batch_size=args.batch_size, sampler=order, seed=args.seed)

    model = CharGPT(len(alphabet), args.context, args.width, args.layers, args.heads, args.dropout)
    print(
        fn.summary(model, jax.ShapeDtypeStruct((args.batch_size, args.context), jnp.int32)),
        end="\n\n",
    )
    net = fn.functionalize(model)
    optimizer = make_optimizer(args.lr, args.matrix_lr, args.steps)
    loss_of = fn.functionalize(model.loss)

    def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
        loss, state = loss_of.apply(params, state, batch["tokens"], key=key, train=train)
        return loss, ({"loss": loss}, state)

    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    step = jax.jit(training.make_train_step(objective, optimizer), donate_argnums=0)

    bar = training.Progress(loader, "training")
    for done, batch in enumerate(bar, start=1):
        run, metrics = step(run, batch)
        bar.show(lambda metrics=metrics: {"loss": float(metrics["loss"])})
        if done % 200 == 0 or done == args.steps:
            measured = training.evaluate(objective, run, data.DataLoader(held_out, batch_size=64))
            loss = measured["loss"]
            print(f"\nstep {done}: held-out loss {loss:.3f} nats a character", flush=True)

    prompt = np.array([index[character] for character in args.prompt], np.int32)
    key = jax.random.key(args.seed + 1)
    written = generate(net, run.params, key, prompt, args.length, args.context, args.temperature)
    print("\n" + "".join(alphabet[token] for token in written))


if __name__ == "__main__":
    main()
