"""Tell Shakespeare's speeches from the same words in a random order, with an LSTM that reads them at any length.

python examples/lstm_text.py
python examples/lstm_text.py --epochs 20 --words 128

Whoever only counts words is right in half of the cases: all that tells is order. What one learns: text to integers,
padding that changes nothing (the LSTM is given each speech's length, and the mean over time counts real words only),
samples that a loader makes anew in each epoch, words left out at random against learning by heart, further metrics.
"""

import argparse
import itertools
import re
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import checkpoint, data, nn, optim, training
from funcnet import functional as F

PADDING, UNKNOWN = 0, 1
SHORTEST = 4


class Reader(nn.Module):
    """An embedding, an LSTM in both directions, the mean over real words, and a linear head."""

    def __init__(self, vocabulary: int, width: int, forget: float) -> None:
        self.forget = forget
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.dropout = nn.Dropout(0.3)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 1)

    def __call__(self, speech: dict) -> jax.Array:
        """Map words ``(N, T)`` and lengths ``(N,)`` to logits ``(N,)``: how sure it is that it is a speech."""
        words, length = speech["words"], speech["length"]
        if self.training:
            left_out = jax.random.bernoulli(self.next_key(), self.forget, words.shape)
            words = jnp.where(left_out & (words != PADDING), UNKNOWN, words)
        read, _ = self.lstm(self.dropout(self.words(words)), lengths=length)
        mean = read.sum(1) / length[:, None]  # behind the last word the output is zero
        return self.head(self.dropout(mean))[:, 0]


def speeches() -> list[list[str]]:
    """Return the words of each speech of the plays, in small letters."""
    spoken = re.sub(r"\[[^\]]*\]", "", data.shakespeare())  # what is in brackets, actors do
    bodies = re.findall(r"(?<=\n\n)[A-Z][\w .']{1,24}[.:]?\n((?:[^\n]+\n)+)", spoken)
    found = [re.findall(r"[a-z']+", body.lower()) for body in bodies]
    return [words for words in found if len(words) >= SHORTEST]


def encode(found: Any, vocabulary: dict[str, int], longest: int) -> data.ArrayDataset:
    """Make integers of words, padded to one length, with the number of those that are real."""
    words = np.full((len(found), longest), PADDING, np.int32)
    for row, speech in zip(words, found, strict=True):
        known = [vocabulary.get(word, UNKNOWN) for word in speech[:longest]]
        row[: len(known)] = known
    return data.ArrayDataset({"words": words, "length": (words != PADDING).sum(1, np.int32)})


def maybe_shuffled(sample: dict, rng: np.random.Generator) -> dict:
    """Shuffle the real words of half of the samples; say of which not."""
    genuine = rng.random() < 0.5
    if not genuine:
        rng.shuffle(sample["words"][: sample["length"]])
    return {**sample, "genuine": np.float32(genuine)}


def main() -> None:
    """Train, evaluate, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--words", type=int, default=48, help="how much of a speech is read")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--forget", type=float, default=0.1, help="share of words left out")
    parser.add_argument("--lr", type=float, default=1e-2, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/lstm_text"))
    args = parser.parse_args()
    fn.keep_memory()

    parts = data.random_split(speeches(), [0.9, 0.1], seed=args.seed)
    counts = Counter(word for speech in parts[0] for word in speech)
    known = [word for word, count in counts.items() if count > 1]
    vocabulary = {word: number for number, word in enumerate(known, start=2)}
    train, test = (encode(part, vocabulary, args.words) for part in parts)
    loader = data.DataLoader(
        train,
        batch_size=64,
        shuffle=True,
        drop_last=True,
        seed=args.seed,
        transforms=[maybe_shuffled],
    )
    # the same orders in each evaluation
    test = data.ArrayDataset(data.collate([*data.map(maybe_shuffled, test)]))
    test_loader = data.DataLoader(test, batch_size=200, pad_last=True)

    net = fn.functionalize(model := Reader(len(known) + 2, args.width, args.forget))
    rate = optim.schedules.warmup_cosine(args.lr, len(loader), args.epochs * len(loader))
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate, weight_decay=0.1))
    objective = training.supervised(
        net,
        F.binary_cross_entropy_with_logits,
        inputs=lambda batch: batch,
        targets="genuine",
        metrics={"accuracy": training.accuracy},
    )
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, history = training.fit(
        objective,
        optimizer,
        run,
        loader,
        epochs=args.epochs,
        evaluation=test_loader,
        metrics=[training.metrics.ROCAUC(bins=200)],
        checkpoint=args.out / "checkpoints",
    )
    logits = training.predict(net, run.params, run.state, test_loader, inputs=lambda batch: batch)
    right = (logits > 0) == (test[:]["genuine"] > 0.5)
    print(
        f"\n{right.mean():.1%} of {len(right)} speeches that it never saw are told from shuffled ones;"
    )
    print("whoever does not look at the order has 50 %.")

    lengths = test[:]["length"]
    edges = [n for n in (SHORTEST, 6, 9, 13, 20, 32) if n < args.words]
    edges += [args.words, args.words + 1]
    figure, axes = training.pictures.new_figure(size=(6, 3.4))
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        part = right[(lengths >= low) & (lengths < high)]
        axes[0, 0].bar(place, part.mean() if len(part) else 0, color=training.pictures.PALETTE[0])
    names = [f"{low} to {high - 1}" for low, high in itertools.pairwise(edges)]
    axes[0, 0].set_xticks(range(len(names)), [*names[:-1], f"{args.words}"])
    axes[0, 0].axhline(0.5, color="black", linestyle="dotted")
    training.pictures.label_axes(
        axes[0, 0], "The longer a speech, the easier", x="words", y="accuracy (fraction)"
    )
    training.pictures.finished(figure, args.out / "lengths.png")
    training.plot(history, args.out / "curves.png")
    checkpoint.save_weights(args.out / "model.safetensors", model, run.params, run.state)
    print(f"saved model.safetensors, lengths.png and curves.png in {args.out}")
    print("train on:", shlex.join(["python", *sys.argv, "--epochs", str(2 * args.epochs)]))


if __name__ == "__main__":
    main()
