"""Mixed precision on the embedded digits: accuracy over seeds beside PyTorch's autocast, and the memory of a step.

    python benchmarks/precision.py [--epochs 10] [--seeds 5] [--batch 64] [--markdown FILE]

Accuracy is that of a small network after some epochs, for funcnet in float32, bfloat16, and float16 with a loss
scale, and for the same network in PyTorch in float32 and under ``torch.autocast``, from the same weights and batches.
Memory is of one training step of larger models, and does not depend on how busy the machine is: what each library
keeps for the backward pass, parameters left out; and XLA's own count of a compiled step's temporaries, which on CPUs
hold copies in 32 bits, because there products of 16 bits are computed so.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F

KINDS = {"float32": None, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
LEARNING_RATE = 1e-3
COUNT = 5000
"""Of the 6,000 digits: those to train on. The rest judges."""


def small(nn):
    """Return the network that is trained."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 49, 10),
    )


def convolutions(nn):
    """Return a network of whose memory most is images."""
    layers = []
    for inner in (1, 32, 32, 32):
        layers += [nn.Conv2d(inner, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 784, 10))


def transformer(nn):
    """Return a network whose sequence is the rows of an image."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, 0.0, "gelu", batch_first=True, norm_first=True)
    ends = nn.Flatten(), nn.Linear(28 * 128, 10)
    return nn.Sequential(
        nn.Flatten(1, 2),
        nn.Linear(28, 128),
        nn.TransformerEncoder(layer, 4, enable_nested_tensor=False),
        *ends,
    )


LARGE = {"convolutions": convolutions, "transformer": transformer}


def made(kind, build, seed):
    """Return a run, its step and its objective."""
    net = fn.functionalize(build(nn))
    if KINDS[kind] is not None:
        net = fn.mixed_precision(net, KINDS[kind])
    scale = training.dynamic_loss_scale() if kind == "float16" else None
    optimizer = optim.adam(LEARNING_RATE)
    run = training.TrainState.create(net, optimizer, jax.random.key(seed), loss_scale=scale)
    objective = training.supervised(
        net, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": training.accuracy}
    )
    step = training.make_train_step(objective, optimizer, loss_scale=scale)
    return run, jax.jit(step, donate_argnums=0), objective


def batches(epochs, batch, seed):
    """Yield the rows of each batch: the same for both libraries."""
    order = np.random.default_rng(seed)
    for _ in range(epochs):
        rows = order.permutation(COUNT)
        yield from (rows[at : at + batch] for at in range(0, COUNT - batch + 1, batch))


def train(kind, seed, given, digits):
    """Train; return the accuracy on the digits that were kept apart."""
    images, labels = digits
    run, step, objective = made(kind, small, seed)
    for rows in batches(given.epochs, given.batch, seed):
        run, _ = step(run, {"x": images[rows], "y": labels[rows]})
    last = {"x": images[COUNT:], "y": labels[COUNT:]}
    return float(training.make_eval_step(objective)(run, last)["accuracy"])


def temporaries(kind, build, batch, digits):
    """Return how many bytes a step needs besides what it is given and returns."""
    run, step, _ = made(kind, build, 0)
    first = {"x": digits[0][:batch], "y": digits[1][:batch]}
    return step.lower(run, first).compile().memory_analysis().temp_size_in_bytes


def kept(kind, build, batch, digits):
    """Return how many bytes JAX keeps for the backward pass, those of parameters left out."""
    run, _, objective = made(kind, build, 0)
    first = {"x": digits[0][:batch], "y": digits[1][:batch]}

    def loss(params):
        return objective(params, run.state, first, run.key, True)[0]

    backward = jax.vjp(loss, run.params)[1]
    own = {id(array) for array in jax.tree.leaves((run.params, run.state))}
    found = {id(array): array.nbytes for array in jax.tree.leaves(backward)}
    return sum(size for array, size in found.items() if array not in own)


def autocast(kind):
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16")


def train_theirs(kind, seed, given, digits):
    """Train in PyTorch."""
    import torch

    model = small(torch.nn)
    start = fn.state_dict(small(nn), *fn.functionalize(small(nn)).init(jax.random.key(seed)))
    model.load_state_dict({name: torch.tensor(np.asarray(value)) for name, value in start.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    images, labels = (torch.tensor(array) for array in digits)
    for rows in batches(given.epochs, given.batch, seed):
        optimizer.zero_grad()
        with autocast(kind):
            loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows].long())
        loss.backward()
        optimizer.step()
    with torch.no_grad(), autocast(kind):
        right = model.eval()(images[COUNT:]).argmax(1) == labels[COUNT:]
    return float(right.float().mean())


def kept_theirs(kind, build, batch, digits):
    """Return how many bytes autograd keeps for the backward pass, those of parameters left out."""
    import torch

    model = build(torch.nn)
    own = {array.untyped_storage().data_ptr() for array in model.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (
                tensor,
                storage.nbytes(),
            )  # held, so that no other gets its place
        return tensor

    images, labels = (torch.tensor(array[:batch]) for array in digits)
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, autocast(kind):
        loss = torch.nn.functional.cross_entropy(model(images), labels.long())
    loss.backward()
    return sum(size for _, size in kept.values())


def rows_of(given, digits):
    """Return the lines of both tables."""
    lines = ["| trained by | computes in | accuracy over seeds |", "|---|---|---|"]
    runs = [("funcnet", kind, train) for kind in KINDS]
    if has_torch():
        runs += [("PyTorch", kind, train_theirs) for kind in ("float32", "bfloat16")]
    for name, kind, function in runs:
        found = np.array([function(kind, seed, given, digits) for seed in range(given.seeds)])
        lines.append(f"| {name} | {kind} | {found.mean():.2%} ± {found.std(ddof=1):.2%} |")
        print(lines[-1], flush=True)
    counts = [("kept by funcnet", kind, kept) for kind in KINDS]
    if has_torch():
        counts += [("kept by PyTorch", kind, kept_theirs) for kind in ("float32", "bfloat16")]
    counts += [("XLA's temporaries", kind, temporaries) for kind in KINDS]
    lines += ["", "| a step of | count | computes in | MiB | of float32 |", "|---|---|---|---|---|"]
    for model, build in LARGE.items():
        base = {}
        for name, kind, function in counts:
            size = function(kind, build, given.batch, digits) / 2**20
            share = size / base.setdefault(name, size)
            lines.append(f"| {model} | {name} | {kind} | {size:.1f} | {share:.2f} |")
            print(lines[-1], flush=True)
    return lines


def has_torch():
    try:
        import torch
    except ImportError:
        return False
    torch.set_num_threads(1)
    return True


def load():
    """Return the 5,000 digits to train on, and after them the 1,000 to judge by."""
    parts = [part[:] for part in data.mnist()]
    images = np.concatenate([part["image"] for part in parts]).astype(np.float32) / 255
    return images.reshape(-1, 1, 28, 28), np.concatenate([part["label"] for part in parts])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("epochs", 10), ("seeds", 5), ("batch", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--markdown", type=Path, help="a file to write the tables to as well")
    given = parser.parse_args()
    lines = rows_of(given, load())
    if given.markdown is not None:
        device = jax.devices()[0].device_kind
        head = (
            f"Mixed precision: {given.epochs} epochs over 5,000 embedded digits in batches of {given.batch}, "
            f"{given.seeds} seeds, judged by 1,000 others (±: standard deviation between seeds); "
            f"on {device}, JAX {jax.__version__}. Written by `python benchmarks/precision.py`."
        )
        given.markdown.write_text("\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    main()
