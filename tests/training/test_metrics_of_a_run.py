"""metrics= of evaluate and of steps: objects that add up, functions, names, values, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F
from funcnet.training import metrics as M
from funcnet.training.loop.tally import CountedStep
from funcnet.training.named_metrics import NamedMetrics

SAMPLES, CLASSES = 11, 3


def samples():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((SAMPLES, 4)).astype(np.float32)
    return {"x": x, "y": rng.integers(0, CLASSES, SAMPLES)}


def loader(**options):
    return data.DataLoader(data.ArrayDataset(samples()), 4, **options)


NET = fn.functionalize(nn.Linear(4, CLASSES))
OBJECTIVE = training.supervised(NET, F.cross_entropy, inputs="x", targets="y")
RUN = training.TrainState.create(NET, optim.sgd(0.1), jax.random.key(0))


def mean_score(outputs, targets):
    return outputs.astype(jnp.float32).mean()


METRICS = {
    "acc": M.Accuracy(),
    "f1": M.FBeta(CLASSES, average="none"),
    "matrix": M.ConfusionMatrix(CLASSES),
    "both": M.Metrics({"log": M.LogLoss(from_logits=True), "iou": M.IoU(CLASSES)}),
    "ece": M.CalibrationError(from_logits=True),
    "score": mean_score,
    "accuracy": training.accuracy,
}


def values_at_once(metrics):
    """Compute metrics of all samples in one call."""
    outputs, targets = NET.apply(RUN.params, RUN.state, samples()["x"])[0], samples()["y"]
    objects = {name: metric for name, metric in metrics.items() if isinstance(metric, M.Metric)}
    found = {name: metric.measure(outputs, targets) for name, metric in objects.items()}
    found |= {name: f(outputs, targets) for name, f in metrics.items() if name not in objects}
    both = found.pop("both", {})
    return found | {f"both/{name}": value for name, value in both.items()}


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("pad_last", [False, True])
def test_metrics_are_those_of_all_samples_at_once(devices, pad_last, request):
    if (devices == 2 or pad_last != (devices == 1)) and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: the others show it")
    mesh = None if devices == 1 else parallel.mesh(data=devices, devices=jax.devices()[:devices])
    found = training.evaluate(OBJECTIVE, RUN, loader(pad_last=pad_last), metrics=METRICS, mesh=mesh)
    expected = values_at_once(METRICS)
    assert found.keys() == expected.keys() | {"loss"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, err_msg=name)
        assert isinstance(found[name], float) == (np.ndim(value) == 0)


class Narrow(fn.Module):
    """Outputs of 16 bits that no rounding changes, so that only what counts them may lose digits."""

    def __call__(self, x):
        return x[:, :CLASSES].astype(jnp.bfloat16)


def test_outputs_of_sixteen_bits_are_counted_in_32():
    rows = samples()
    rows["x"] = rows["x"].astype(jnp.bfloat16).astype(np.float32)
    net = fn.functionalize(Narrow())
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    batches = data.DataLoader(data.ArrayDataset(rows), 4)
    metrics = {"log": M.LogLoss(), "acc": M.Accuracy()}
    found = training.evaluate(objective, run, batches, metrics=metrics)
    for name, metric in metrics.items():
        expected = metric.measure(rows["x"][:, :CLASSES], rows["y"])
        np.testing.assert_allclose(found[name], expected, rtol=2e-6)
    # each batch's loss is rounded to eight bits once
    np.testing.assert_allclose(found["loss"], found["log"], rtol=2**-8)


def test_binary_scores_and_sequences():
    net = fn.functionalize(nn.Linear(4, 1))
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    objective = training.supervised(
        net, lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t), inputs="x",
        targets=lambda batch: (batch["y"] > 0).astype(jnp.float32),
    )  # fmt: skip

    class Scores(M.ROCAUC):
        """Of logits ``(N, 1)``."""

        def update(self, state, outputs, targets, where=None):
            return super().update(state, outputs[:, 0], targets, where)

    metric = Scores(from_logits=True, capacity=64)
    found = training.evaluate(objective, run, loader(pad_last=True), metrics={"auc": metric})
    outputs = net.apply(run.params, run.state, samples()["x"])[0]
    expected = metric.measure(outputs, (samples()["y"] > 0).astype(np.float32))
    assert found["auc"] == pytest.approx(float(expected), rel=1e-6)


class Tokens(fn.Module):
    """Tokens that were predicted: some of those that are true."""

    def __call__(self, x):
        return jnp.where(jnp.arange(6) < 5, x, 9)


def test_bleu_of_batches():
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 4, (SAMPLES, 6))
    net = fn.functionalize(Tokens())
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    metric = M.BLEU()
    loss = lambda outputs, targets: (outputs != targets).mean(dtype=jnp.float32)
    objective = training.supervised(net, loss, inputs="x", targets="x")
    batches = data.DataLoader(data.ArrayDataset({"x": tokens}), 4, pad_last=True)
    outputs = net.apply({}, {}, tokens)[0]
    found = training.evaluate(objective, run, batches, metrics=[metric])
    assert found["bleu"] == pytest.approx(float(metric.measure(outputs, tokens)), rel=1e-6)
    assert found["loss"] == pytest.approx(1 / 6, rel=1e-6)


def test_training_counts_with_the_same_list_and_names():
    metrics = NamedMetrics.of(METRICS)
    still = optim.sgd(0.0)
    step = CountedStep(OBJECTIVE, still, metrics)
    run, counted = training.TrainState.create(NET, still, jax.random.key(0)), metrics.init()
    tally = step.start(run, next(iter(loader())))
    jitted = jax.jit(step)
    for batch in loader():
        run, tally, counted, _ = jitted(run, tally, counted, batch)
    found = tally.read().means() | metrics.read(counted)
    expected = values_at_once(METRICS)
    assert found.keys() == expected.keys() | {"loss"}
    for name, value in expected.items():  # a learning rate of nothing: the same model at each step
        np.testing.assert_allclose(found[name], value, rtol=2e-6, err_msg=name)


def test_a_list_names_its_metrics():
    metrics = [
        M.FBeta(3), M.IoU(3), M.ROCAUC(bins=9), M.R2(), M.RMSE(), M.BLEU(), M.LogLoss(), training.accuracy,
    ]  # fmt: skip
    found = NamedMetrics.of(metrics)
    names = [name for name, _ in (*found.objects, *found.functions)]
    assert names == ["f_beta", "iou", "roc_auc", "r2", "rmse", "bleu", "log_loss", "accuracy"]
    assert hash(NamedMetrics.of(metrics)) == hash(found)
    assert NamedMetrics.of(metrics) == found


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (M.Accuracy(), TypeError, r"such as \[training\.metrics\.FBeta\(10\)\]"),
        ([M.FBeta(3), M.FBeta(3, average="none")], ValueError, "two metrics named 'f_beta'"),
        ([lambda o, t: 0.0], ValueError, r"has no name.*metrics=\{'name': function\}"),
        ({"acc": 3}, TypeError, "'acc' is a int"),
        ({"loss": M.Accuracy()}, ValueError, "reports loss itself"),
        ({"loss": training.accuracy}, ValueError, "reports loss itself"),
    ],
)
def test_mistakes_in_the_list(metrics, error, message):
    with pytest.raises(error, match=message):
        training.evaluate(OBJECTIVE, RUN, loader(), metrics=metrics)


def test_an_objective_by_hand_does_not_show_outputs():
    by_hand = lambda *args: OBJECTIVE(*args)
    with pytest.raises(TypeError, match=r"training\.supervised\(net, loss"):
        training.evaluate(by_hand, RUN, loader(), metrics=[M.Accuracy()])


def test_an_objectives_metrics_are_functions():
    with pytest.raises(TypeError, match=r"pass it to fit\(\.\.\., metrics=\[\.\.\.\]\)"):
        training.supervised(NET, F.cross_entropy, metrics={"acc": M.Accuracy()})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            M.ConfusionMatrix(2),
            r"made for classes=2; outputs \(4, 3\) have 3",
        ),  # while it is traced
        (M.LogLoss(from_logits=False), "are no probabilities"),  # by what was counted
    ],
)
def test_what_does_not_fit_a_metric_is_told_by_its_name(metric, message):
    with pytest.raises(ValueError, match=message) as caught:
        training.evaluate(OBJECTIVE, RUN, loader(), metrics={"mine": metric})
    assert "'mine'" in "".join(caught.value.__notes__)


def test_nan_is_told():
    class Invalid(fn.Module):
        def __call__(self, x):
            return jnp.where(x[:, :CLASSES] > 0, jnp.nan, x[:, :CLASSES])

    net = fn.functionalize(Invalid())
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    with pytest.warns(RuntimeWarning, match=r"acc: the outputs or targets of \d+ rows hold NaN"):
        found = training.evaluate(objective, run, loader(), metrics={"acc": M.Accuracy()})
    assert np.isnan(found["acc"])
    assert np.isnan(found["loss"])


def test_the_table_of_a_test(capsys):
    metrics = {"matrix": METRICS["matrix"], "accuracy": training.accuracy}
    found = training.test(OBJECTIVE, RUN, loader(), metrics=metrics)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"accuracy  {found['accuracy']:.4f}"
    assert said[1] == f"loss      {found['loss']:.4f}"
    assert said[2] == "matrix"
    assert len(said) == 3 + CLASSES


# ---- fit


def fit(batches=None, metrics=METRICS, **options):
    options = {"epochs": 2, "evaluation": loader(), "progress": False} | options
    batches = loader(shuffle=True, seed=1) if batches is None else batches
    return training.fit(OBJECTIVE, optim.sgd(0.1), RUN, batches, metrics=metrics, **options)


@pytest.fixture(scope="module")
def fitted():
    return fit()


def same(history, expected, rtol):
    assert len(history.records) == len(expected.records)
    for ours, theirs in zip(history.records, expected.records, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"seconds"}:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, err_msg=name)
    assert history.arrays.keys() == expected.arrays.keys()
    for name, array in history.arrays.items():
        np.testing.assert_allclose(array, expected.arrays[name], rtol=rtol, err_msg=name)


def test_records_hold_floats_and_the_history_arrays(fitted):
    run, history = fitted
    for record in history.records:
        assert {f"{part}/both/iou" for part in ("train", "eval")} <= record.keys()
        assert all(isinstance(value, int | float) for value in record.values())
    assert sorted(history.arrays) == ["eval/f1", "eval/matrix", "train/f1", "train/matrix"]
    found = training.evaluate(OBJECTIVE, run, loader(), metrics=METRICS)
    for name, value in found.items():
        last = history.records[-1].get(f"eval/{name}", history.arrays.get(f"eval/{name}"))
        np.testing.assert_allclose(last, value, rtol=2e-6, err_msg=name)
    # of the last epoch alone: each record begins anew
    assert history.arrays["train/matrix"].sum() == SAMPLES


def test_an_epoch_in_two_parts_counts_each_sample_once(fitted, tmp_path):
    fit(steps=2, checkpoint=tmp_path, evaluation=loader(), epochs=None)
    _, history = fit(checkpoint=tmp_path)
    expected = fitted[1]
    # where the first call ended there is a record more; what comes after it counts from there on
    assert [record["step"] for record in history.records] == [2, 3, 6]
    assert history.records[-1]["train/acc"] == expected.records[-1]["train/acc"]
    assert history.records[0]["train/acc"] * 8 + history.records[1][
        "train/acc"
    ] * 3 == pytest.approx(expected.records[0]["train/acc"] * SAMPLES)
    for name in ("eval/acc", "eval/loss", "eval/both/log"):
        assert history.records[-1][name] == pytest.approx(expected.records[-1][name], rel=1e-6)


class Stop(Exception):
    pass


class BreaksOff:
    """Batches that break off before the last of the first epoch."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        for number, batch in enumerate(self.batches):
            if number == 2:
                raise Stop
            yield batch

    def __getattr__(self, name):
        return getattr(self.__dict__["batches"], name)


def test_states_within_an_epoch_are_kept(fitted, tmp_path):
    with fn.checkpoint.Checkpointer(tmp_path, every=1) as checkpointer, pytest.raises(Stop):
        fit(BreaksOff(loader(shuffle=True, seed=1)), checkpoint=checkpointer)
    _, history = fit(checkpoint=tmp_path)
    same(history, fitted[1], rtol=0)


def test_on_a_mesh_training_counts_the_same(fitted):
    mesh = parallel.mesh(data=4, devices=jax.devices()[:4])
    _, history = fit(mesh=mesh, rules={"weight": parallel.fsdp(smallest=1)})
    same(history, fitted[1], rtol=1e-5)


def test_a_mistake_is_told_at_the_first_step():
    with pytest.raises(ValueError, match="made for classes=2") as caught:
        fit(metrics={"mine": M.ConfusionMatrix(2)})
    assert "'mine'" in "".join(caught.value.__notes__)
