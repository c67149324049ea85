"""Train a small GPT on Shakespeare, and teach it the manual of Python with a hundredth of its parameters.

python examples/lora_gpt.py
python examples/lora_gpt.py --rank 16 --adapting 1000

The manual is that of the Python which runs this (the standard library's `pydoc_data`). What one learns: low-rank
adaptation (LoRA) of a model that stays as it is, an optimizer for a few parameters chosen by pattern, a file of a few
kilobytes that holds the adaptation, and weights that are merged so that the adapted model costs what the first did.

Reference: Hu et al., LoRA, 2021, https://arxiv.org/abs/2106.09685.
"""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import checkpoint, data, nn, optim, training
from funcnet import functional as F

ASCII = 128


class Block(nn.Module):
    """Causal self-attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        qkv = self.qkv(self.norm1(x)).reshape(*x.shape[:2], 3, self.heads, -1)
        q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2))  # each (N, heads, T, D / heads)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(jnp.moveaxis(attended, 1, 2).reshape(x.shape))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


class GPT(nn.Module):
    """A causal transformer over characters."""

    def __init__(self, context: int, width: int, layers: int) -> None:
        self.tokens = nn.Embedding(ASCII, width)
        self.positions = nn.Embedding(context, width)
        for table in (self.tokens, self.positions):
            table.weight = fn.Parameter(table.weight.shape, nn.init.normal(std=0.02))
        self.blocks = nn.Sequential(*(Block(width, width // 32) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, ASCII, bias=False)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to the next tokens' logits ``(N, T, 128)``."""
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def next_token_loss(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return how badly each token is foretold by those before it, in nats."""
    return F.cross_entropy(logits[:, :-1].reshape(-1, ASCII), tokens[:, 1:].reshape(-1))


def windows(text: str, length: int, batch_size: int, seed: int) -> tuple[Any, Any]:
    """Make loaders of a text's parts of some length: of the first nine tenths, and of the rest."""
    tokens = np.frombuffer(text.encode("ascii", "ignore"), np.uint8).astype(np.int32)
    parts = np.lib.stride_tricks.sliding_window_view(tokens, length)
    split = int(0.9 * len(parts))
    train, rest = (
        data.ArrayDataset({"tokens": p}) for p in (parts[:split:8], parts[split::length])
    )
    loader = data.DataLoader(train, batch_size, shuffle=True, drop_last=True, seed=seed)
    return loader, data.DataLoader(rest, batch_size=64)


def write(net: fn.Functional, params: Any, prompt: str, length: int, context: int) -> str:
    """Let a model go on from a prompt, in one jitted loop."""

    @jax.jit
    def sample(params: Any) -> jax.Array:
        def step(i: jax.Array, tokens: jax.Array) -> jax.Array:
            start = jnp.maximum(0, i + 1 - context)  # the last place was never trained on
            window = jax.lax.dynamic_slice(tokens, (start,), (context,))
            logits = net.apply(params, {}, window[None])[0][0, i - 1 - start]
            key = jax.random.fold_in(jax.random.key(0), i)
            return tokens.at[i].set(jax.random.categorical(key, logits / 0.7))

        tokens = jnp.zeros(len(prompt) + length, jnp.int32)
        tokens = tokens.at[: len(prompt)].set(jnp.array(list(prompt.encode())))
        return jax.lax.fori_loop(len(prompt), len(tokens), step, tokens)

    return bytes(np.asarray(sample(params)).astype(np.uint8)).decode("ascii")


def main() -> None:
    """Train on Shakespeare, adapt to the manual, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=700, help="on Shakespeare")
    parser.add_argument("--adapting", type=int, default=400, help="steps on the manual")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/lora_gpt"))
    args = parser.parse_args()
    fn.keep_memory()
    plays = windows(data.shakespeare(), args.context, 16, args.seed)
    manual = windows("".join(topics.values()), args.context, 16, args.seed)

    def learn(name: str, net: Any, optimizer: Any, run: Any, texts: Any, steps: int) -> Any:
        objective = training.supervised(net, next_token_loss, inputs="tokens", targets="tokens")
        run, history = training.fit(
            objective,
            optimizer,
            run,
            texts[0],
            steps=steps,
            evaluation=texts[1],
            evaluate_every=max(1, steps // 10),
            checkpoint=args.out / "checkpoints" / name,
        )
        costs = [training.evaluate(objective, run, part[1])["loss"] for part in (plays, manual)]
        return run, history, costs

    model = GPT(args.context, args.width, args.layers)
    net = fn.functionalize(model)
    rate = optim.schedules.warmup_cosine(3e-3, args.steps // 10, args.steps)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate, betas=(0.9, 0.98)))
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, _, before = learn("plays", net, optimizer, run, plays, args.steps)

    adapted = nn.lora(model, ["blocks.*", "head"], args.rank)
    adapted_net = fn.functionalize(adapted)
    lora_rate = optim.schedules.warmup_cosine(1e-2, args.adapting // 10, args.adapting)
    lora_optimizer = optim.groups({"*lora_*": optim.adamw(lora_rate), "*": None})
    lora_run = training.TrainState.create(adapted_net, lora_optimizer, jax.random.key(args.seed))
    fresh = fn.state_dict(adapted, lora_run.params)
    params, _ = fn.load_state_dict(adapted, fresh | fn.state_dict(model, run.params))
    lora_run = replace(lora_run, params=params)
    lora_run, history, after = learn(
        "manual", adapted_net, lora_optimizer, lora_run, manual, args.adapting
    )
    additions = {n: a for n, a in fn.state_dict(adapted, lora_run.params).items() if "lora_" in n}
    saved = checkpoint.save_arrays(args.out / "manual.safetensors", additions)
    merged = nn.merge_lora(adapted, lora_run.params)  # a GPT as before, of the same size
    for prompt, params in (("ROMEO:\n", run.params), ("The ", merged)):
        print(f"\n{write(net, params, prompt, 300, args.context)}\n---")
    sizes = [sum(a.size for a in jax.tree.leaves(tree)) for tree in (additions, run.params)]
    counts = np.bincount(manual[1].dataset[:]["tokens"].ravel()) + 1e-9
    alone = -(counts / counts.sum() * np.log(counts / counts.sum())).sum()
    print(f"nats a character    plays  manual    ({alone:.2f} of the manual by frequencies alone)")
    print(
        f"before adapting     {before[0]:5.2f}  {before[1]:6.2f}    {sizes[1]:,} parameters, all trained"
    )
    print(
        f"after adapting      {after[0]:5.2f}  {after[1]:6.2f}    {sizes[0]:,} more, in {saved.name}"
    )
    print("It is good if the manual then costs less than the plays did, for which all was trained.")

    figure, (axes,) = training.pictures.new_figure(1, 2)
    steps = [0, *history.series("step")]
    axes[0].plot(
        steps,
        [before[1], *history.series("eval/loss")],
        marker="o",
        color=training.pictures.PALETTE[0],
    )
    axes[0].axhline(alone, color="black", linestyle="dotted", label="frequencies alone")
    axes[0].legend()
    for place, (name, costs) in enumerate({"before": before, "after": after}.items()):
        spots = np.arange(2) + 0.4 * place
        axes[1].bar(spots, costs, 0.38, color=training.pictures.PALETTE[place], label=name)
    axes[1].set_xticks(np.arange(2) + 0.2, ["plays", "manual"])
    axes[1].legend()
    unit = "loss (nats a character)"
    training.pictures.label_axes(axes[0], "The manual, as it is learned", x="steps", y=unit)
    training.pictures.label_axes(axes[1], "Both texts", y=unit)
    training.pictures.finished(figure, args.out / "adapting.png")
    print(f"saved {saved} and {args.out / 'adapting.png'}")
    print("adapt on:", shlex.join(["python", *sys.argv, "--adapting", str(2 * args.adapting)]))


if __name__ == "__main__":
    main()
