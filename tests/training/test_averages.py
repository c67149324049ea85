"""The mean over batches is the loss of all samples at once: every loss, however samples are cut, padded and spread."""

import inspect
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F

SAMPLES, CLASSES, TIME, FEATURES = 11, 3, 5, 4
WEIGHT = np.array([1.0, 2.0, 0.5], np.float32)


class Outputs(fn.Module):
    """Outputs of all the shapes that losses take."""

    def __init__(self):
        self.dense = nn.Linear(FEATURES, CLASSES * TIME)
        self.head = nn.Linear(FEATURES, CLASSES)

    def __call__(self, x):
        tokens = self.dense(x).reshape(-1, CLASSES, TIME)
        return {
            "x": x,
            "head": self.head.weight,
            "tokens": tokens,
            "scores": tokens[..., 0],
            "second": tokens[..., 1],
            "third": tokens[..., 2],
            "variance": jnp.exp(tokens[..., 1]),
        }


def samples():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, CLASSES, (SAMPLES, TIME))
    labels[rng.random(labels.shape) < 0.4] = -100
    labels[3] = -100  # nothing counts in this one
    labels[0, 0] = 1
    numbers = rng.standard_normal((SAMPLES, CLASSES)).astype(np.float32)
    mask = rng.random((SAMPLES, CLASSES)) < 0.6
    mask[4] = False
    return {
        "x": rng.standard_normal((SAMPLES, FEATURES)).astype(np.float32),
        "labels": labels,
        "class": rng.integers(0, CLASSES, SAMPLES),
        "rare": np.where(np.arange(SAMPLES) % 3 == 0, 1, -100),
        "share": rng.dirichlet([1.0] * CLASSES, SAMPLES).astype(np.float32),
        "numbers": numbers,
        "signs": np.sign(numbers),
        "sign": np.sign(numbers[:, 0]),
        "bits": (numbers > 0).astype(np.float32),
        "mask": mask,
        "sequence": rng.integers(1, CLASSES, (SAMPLES, 2)),
        "long": np.full(SAMPLES, 2, np.int32),
    }


def log_p(o):
    return jax.nn.log_softmax(o["tokens"], 1)


def ctc(o, t, **options):
    steps = log_p(o).transpose(2, 0, 1)
    return F.ctc_loss(steps, t["sequence"], jnp.full_like(t["long"], TIME), t["long"], **options)


def of(loss, target):
    return lambda o, t, **options: loss(o["scores"], t[target], **options)


NUMBERS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss")
SIGNS = ("hinge_embedding_loss", "soft_margin_loss")
LOSSES = {
    **{name: of(getattr(F, name), "numbers") for name in NUMBERS},
    **{name: of(getattr(F, name), "signs") for name in SIGNS},
    "cross_entropy": lambda o, t, **k: F.cross_entropy(o["scores"], t["class"], **k),
    "cross_entropy of tokens": lambda o, t, **k: F.cross_entropy(o["tokens"], t["labels"], **k),
    "cross_entropy of few": lambda o, t, **k: F.cross_entropy(o["scores"], t["rare"], **k),
    "cross_entropy of shares": lambda o, t, **k: F.cross_entropy(o["scores"], t["share"], **k),
    "cross_entropy by weights": lambda o, t, **k: F.cross_entropy(
        o["tokens"], t["labels"], WEIGHT, **k
    ),
    "cross_entropy smoothed": lambda o, t, **k: F.cross_entropy(
        o["tokens"], t["labels"], WEIGHT, label_smoothing=0.2, **k
    ),
    "cross_entropy of a mask": lambda o, t, **k: F.cross_entropy(
        o["tokens"][..., :CLASSES], t["labels"][:, :CLASSES], where=t["mask"], **k
    ),
    "cross_entropy ignoring": lambda o, t, **k: F.cross_entropy(
        o["scores"], t["class"], ignore_index=1, **k
    ),
    "nll_loss": lambda o, t, **k: F.nll_loss(log_p(o), t["labels"], WEIGHT, **k),
    "linear_cross_entropy": lambda o, t, **k: F.linear_cross_entropy(
        o["x"], o["head"], t["rare"], **k
    ),
    "binary_cross_entropy": lambda o, t, **k: F.binary_cross_entropy(
        jax.nn.sigmoid(o["scores"]), t["bits"], **k
    ),
    "binary_cross_entropy_with_logits": lambda o, t, **k: F.binary_cross_entropy_with_logits(
        o["scores"], t["bits"], where=t["mask"], **k
    ),
    "kl_div": lambda o, t, **k: F.kl_div(jax.nn.log_softmax(o["scores"]), t["share"], **k),
    "gaussian_nll_loss": lambda o, t, **k: F.gaussian_nll_loss(
        o["scores"], t["numbers"], o["variance"], **k
    ),
    "cosine_embedding_loss": lambda o, t, **k: F.cosine_embedding_loss(
        o["scores"], o["second"], t["sign"], **k
    ),
    "margin_ranking_loss": lambda o, t, **k: F.margin_ranking_loss(
        o["scores"], o["second"], t["signs"], **k
    ),
    "multi_margin_loss": lambda o, t, **k: F.multi_margin_loss(o["scores"], t["class"], **k),
    "multilabel_margin_loss": lambda o, t, **k: F.multilabel_margin_loss(
        o["scores"], jnp.maximum(t["labels"][:, :CLASSES], -1), **k
    ),
    "multilabel_soft_margin_loss": lambda o, t, **k: F.multilabel_soft_margin_loss(
        o["scores"], t["bits"], **k
    ),
    "triplet_margin_loss": lambda o, t, **k: F.triplet_margin_loss(
        o["scores"], o["second"], o["third"], **k
    ),
    "triplet_margin_with_distance_loss": lambda o, t, **k: F.triplet_margin_with_distance_loss(
        o["scores"], o["second"], o["third"], **k
    ),
    "ctc_loss": ctc,
    "mse_loss of a mask": lambda o, t, **k: F.mse_loss(
        o["scores"], t["numbers"], where=t["mask"], **k
    ),
    "mse_loss by weights": lambda o, t, **k: F.mse_loss(
        o["scores"], t["numbers"], weight=t["share"], **k
    ),
    "layer": lambda o, t, **k: nn.CrossEntropyLoss(ignore_index=2, **k)(o["scores"], t["class"]),
}
BY_HAND = {
    "squares": lambda o, t: jnp.mean((o["scores"] - t["numbers"]) ** 2),
    "two": lambda o, t: F.mse_loss(o["scores"], t["numbers"]) + 0.1 * F.l1_loss(o["x"], t["x"]),
    "accuracy": lambda o, t: training.accuracy(o["scores"], t["class"]),
    "accuracy of tokens": lambda o, t: training.accuracy(
        o["tokens"].transpose(0, 2, 1), t["labels"]
    ),
}


def scalars():
    """Return every loss with every reduction that makes a scalar."""
    found = dict(BY_HAND)
    for name, loss in LOSSES.items():
        for reduction in ("mean", "sum", *(("batchmean",) if name == "kl_div" else ())):
            found[f"{name}, {reduction}"] = partial(loss, reduction=reduction)
    return found


def test_no_loss_is_left_out():
    reduced = [
        name for name, loss in inspect.getmembers(F, inspect.isfunction)
        if "reduction" in inspect.signature(loss).parameters
    ]  # fmt: skip
    missing = [name for name in reduced if not any(ours.startswith(name) for ours in LOSSES)]
    assert not missing


ALL = scalars()
NET = fn.functionalize(Outputs())
RUN = training.TrainState.create(NET, optim.sgd(0.1), jax.random.key(0))
BATCHES = {"in two": 8, "in three": 4, "in six": 2}
CASES = [
    (size, padded, devices)
    for size, padded, devices in itertools.product(BATCHES, (False, True), (1, 2, 4))
    if padded or devices == 1  # a mesh fills batches itself
]
SAMPLED = [("in three", False, 1), ("in six", True, 1), ("in two", True, 4)]
"""In CI each of these meets a third of the losses, because what takes the time is to compile them."""


def some(part, request):
    """All losses with ``--grid=full``, else a third."""
    whole = request.config.getoption("grid") == "full"
    return ALL if whole else {name: ALL[name] for name in sorted(ALL)[part :: len(SAMPLED)]}


def objective_of(losses, **options):
    loss = LOSSES["cross_entropy of tokens"]
    whole = {"inputs": "x", "targets": lambda batch: batch, "metrics": losses}
    return training.supervised(NET, loss, **(whole | options))


def at_once(losses):
    """What losses are of all samples in one call, without the code that averages."""

    @jax.jit
    def whole(params, x, targets):
        outputs = NET.apply(params, RUN.state, x)[0]
        return {name: loss(outputs, targets) for name, loss in losses.items()}

    return jax.device_get(whole(RUN.params, samples()["x"], samples()))


@pytest.mark.parametrize(("size", "padded", "devices"), CASES)
def test_the_mean_over_batches_is_that_of_all_samples(size, padded, devices, request):
    case = (size, padded, devices)
    if case not in SAMPLED and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: one case of each kind")
    losses = some(SAMPLED.index(case) if case in SAMPLED else 0, request)
    loader = data.DataLoader(
        data.ArrayDataset(samples()), BATCHES[size], pad_last=padded and devices == 1
    )
    mesh = None if devices == 1 else parallel.mesh(data=devices, devices=jax.devices()[:devices])
    found = training.evaluate(objective_of(losses), RUN, loader, mesh=mesh)
    expected = at_once({"loss": LOSSES["cross_entropy of tokens"], **losses})
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # float32 sums in another order
        np.testing.assert_allclose(found[name], value, rtol=5e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_padded_rows_have_no_gradient(part, request):
    if part and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: the first part shows it")
    losses = {name: loss for name, loss in some(part, request).items() if "sum" not in name}
    rows = [3, 4, 0, 1]  # the first two have nothing that counts for some losses
    real = {name: value[rows] for name, value in samples().items()}
    padded = {name: value[rows + rows[:3]] for name, value in samples().items()}
    padded["valid"] = np.arange(7) < 4
    objective = objective_of(losses)

    @jax.jit
    @jax.grad
    def gradient(params, batch):
        values = objective(params, RUN.state, batch, None, True)[1][0]
        return jnp.stack([*values.values()]).sum()

    one, other = gradient(RUN.params, real), gradient(RUN.params, padded)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # float32 sums in another order


class Tokens(fn.Module):
    def __init__(self):
        self.dense = nn.Linear(FEATURES, CLASSES * TIME)

    def __call__(self, x):
        return self.dense(x).reshape(-1, CLASSES, TIME)


def with_mask(outputs, targets, *, where=None):
    return F.cross_entropy(outputs, targets, where=None if where is None else where[:, None])


AS_THEY_ARE = {
    "plain": F.cross_entropy,
    "ignoring": partial(F.cross_entropy, ignore_index=1),
    "sum": partial(F.cross_entropy, reduction="sum"),
    "weighted": partial(F.cross_entropy, weight=jnp.asarray(WEIGHT), label_smoothing=0.1),
    "layer": nn.CrossEntropyLoss(),
    "layer that sums": nn.CrossEntropyLoss(reduction="sum"),
    "layer with weights": nn.NLLLoss(weight=WEIGHT),
    "layer with a mean by rows": lambda o, t: nn.KLDivLoss(reduction="batchmean")(
        jax.nn.log_softmax(o, 1), jax.nn.softmax(jnp.flip(o, 1), 1)
    ),
    "with a mask of rows": with_mask,
}


@pytest.mark.parametrize("options", [{}, {"pad_last": True}], ids=["smaller", "padded"])
def test_losses_of_two_arguments_as_they_are(options):
    net = fn.functionalize(Tokens())
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    arrays = {
        "x": samples()["x"],
        "labels": np.where(samples()["labels"] < 0, 2, samples()["labels"]),
    }
    arrays["labels"][::2, 3:] = -100
    losses = {name: loss for name, loss in AS_THEY_ARE.items() if name != "ignoring"}
    objective = training.supervised(
        net, F.cross_entropy, inputs="x", targets="labels", metrics=losses
    )
    outputs = net.apply(run.params, run.state, arrays["x"])[0]
    weighted = partial(F.nll_loss, outputs, arrays["labels"], jnp.asarray(WEIGHT))
    expected = {name: loss for name, loss in losses.items() if "layer with weights" not in name}
    expected = {name: float(loss(outputs, arrays["labels"])) for name, loss in expected.items()}
    expected |= {"layer with weights": float(weighted()), "loss": expected["plain"]}
    found = training.evaluate(
        objective, run, data.DataLoader(data.ArrayDataset(arrays), 4, **options)
    )
    assert found == pytest.approx(expected, rel=5e-6)
    # classes that are ignored are others than those that fill
    again = training.supervised(net, AS_THEY_ARE["ignoring"], inputs="x", targets="labels")
    arrays["labels"] = np.maximum(arrays["labels"], 0)
    loader = data.DataLoader(data.ArrayDataset(arrays), 4, **options)
    value = float(AS_THEY_ARE["ignoring"](outputs, arrays["labels"]))
    assert training.evaluate(again, run, loader)["loss"] == pytest.approx(value, rel=5e-6)


# ---- losses written by hand, and what weight= says of them


def masked_squares(outputs, targets):
    numbers, mask = targets
    errors = (outputs["scores"] - numbers) ** 2
    return jnp.where(mask, errors, 0).sum() / mask.sum().astype(jnp.float32)


@pytest.mark.parametrize("weight", ["mask", lambda batch: batch["mask"].sum(1)])
@pytest.mark.parametrize("pad_last", [False, True])
def test_weight_says_what_a_loss_by_hand_is_the_mean_of(weight, pad_last):
    objective = training.supervised(
        NET, masked_squares, inputs="x",
        targets=lambda batch: (batch["numbers"], batch["mask"]), weight=weight,
    )  # fmt: skip
    loader = data.DataLoader(data.ArrayDataset(samples()), 4, pad_last=pad_last)
    outputs = NET.apply(RUN.params, RUN.state, samples()["x"])[0]
    expected = float(masked_squares(outputs, (samples()["numbers"], samples()["mask"])))
    assert training.evaluate(objective, RUN, loader)["loss"] == pytest.approx(expected, rel=2e-6)
    assert float(objective.weight(next(iter(loader)))) == samples()["mask"][:4].sum()


def test_weight_is_for_means_by_rows():
    batch = samples()
    scalar = training.supervised(
        NET, masked_squares, inputs="x", targets="numbers", weight=lambda batch: batch["mask"].sum()
    )
    with pytest.raises(ValueError, match=r"one number for each row.*leave out its sum"):
        training.evaluate(scalar, RUN, [batch])
    summed = training.supervised(
        NET, lambda o, t: F.mse_loss(o["scores"], t, reduction="sum"), inputs="x",
        targets="numbers", weight="mask",
    )  # fmt: skip
    with pytest.raises(ValueError, match="the loss is a sum"):
        training.evaluate(summed, RUN, [batch])


def test_an_objective_by_hand_says_what_its_means_stand_for():
    class Objective:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, params, state, batch, key, train):
            loss = masked_squares(
                NET.apply(params, state, batch["x"])[0], (batch["numbers"], batch["mask"])
            )
            return loss, ({"loss": loss, "rows": batch["numbers"].mean()}, state)

    loader = data.DataLoader(data.ArrayDataset(samples()), 4)
    tokens = lambda batch: batch["mask"].sum()
    found = training.evaluate(
        Objective(lambda batch: {"loss": tokens(batch), "rows": len(batch["x"])}), RUN, loader
    )
    outputs = NET.apply(RUN.params, RUN.state, samples()["x"])[0]
    expected = float(masked_squares(outputs, (samples()["numbers"], samples()["mask"])))
    assert found["loss"] == pytest.approx(expected, rel=2e-6)
    assert found["rows"] == pytest.approx(samples()["numbers"].mean(), rel=1e-5)
    assert training.evaluate(Objective(tokens), RUN, loader)["loss"] == found["loss"]
    with pytest.raises(KeyError, match="without rows: name all metrics"):
        training.evaluate(Objective(lambda batch: {"loss": tokens(batch)}), RUN, loader)
