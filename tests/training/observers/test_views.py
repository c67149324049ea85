"""Throughput, Profile, LivePlot and Samples."""

import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from funcnet.training import (
    CSVLog,
    History,
    JSONLog,
    LivePlot,
    Loop,
    Observer,
    Profile,
    Samples,
    Throughput,
)
from funcnet.training.observers import live_plot, speed
from funcnet.training.observers.samples import as_pictures
from tests.training.observers.runs import OBJECTIVE, OPTIMIZER, At, batches, fail, fit, new_run


def logged(folder, observer, **options):
    """Return what an observer reports, by step, of those steps alone."""
    log = Keep()
    fit([log, observer], **options)
    return log.found


class Keep(Observer):
    every = 1

    def __init__(self):
        self.found = {}

    def on_report(self, loop):
        if loop.reported:
            self.found[loop.step] = dict(loop.reported)


# ---- speed ---------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A clock that is turned by hand."""
    made = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: made.now)
    return made


def driven(observer, clock, events, batch=None):
    """Call an observer as a loop would: ``("step", seconds)``, ``("evaluation", seconds)``, ``("epoch", seconds)``."""
    loop = Loop(new_run(), 0, OBJECTIVE, OPTIMIZER, None, History(), batch=batch or batches(1)[0])
    observer.on_start(loop)
    found = []
    for kind, seconds in events:
        clock.now += seconds
        if kind == "step":
            loop.step += 1
            loop.samples += 8
            if loop.step % observer.every == 0:
                observer.on_step(loop)
        else:
            getattr(observer, f"on_{kind}")(loop)
        if loop.reported:
            found.append((loop.step, loop.reported))
            loop.reported = {}
    return found


def test_samples_and_steps_are_counted_by_the_clock(clock):
    observer = Throughput(every=2, tokens="y")
    events = [
        ("step", 9.0),
        ("step", 9.0),
        ("step", 0.5),
        ("step", 0.5),
        ("step", 1.0),
        ("step", 1.0),
    ]
    assert driven(observer, clock, events) == [
        (4, {"samples_per_second": 16.0, "seconds_per_step": 0.5, "tokens_per_second": 16.0}),
        (6, {"samples_per_second": 8.0, "seconds_per_step": 1.0, "tokens_per_second": 8.0}),
    ]


@pytest.mark.parametrize("kind", ["evaluation", "epoch"])
def test_evaluations_are_left_out(clock, kind):
    events = [("step", 1.0)] * 3 + [(kind, 50.0)] + [("step", 0.25)] * 3
    found = driven(Throughput(every=3), clock, events)
    assert found == [(6, {"samples_per_second": 32.0, "seconds_per_step": 0.25})]
    events = [("step", 1.0)] * 4 + [(kind, 50.0)] + [("step", 0.25)] * 2
    found = driven(Throughput(every=3), clock, events)
    assert found == [(6, {"samples_per_second": 32.0, "seconds_per_step": 0.25})]


def test_the_share_of_the_peak_is_that_of_a_count(clock):
    events = [("step", 0.5)] * 4
    found = driven(Throughput(every=2, peak=1e6), clock, events)
    operations = found[0][1]["peak_share"] * 0.5 * 1e6
    # by hand: two products forward and three backward of 8 rows, 4 x 8 and 8 x 2; the rest is less than as much again
    products = 2 * 8 * (4 * 8 + 8 * 2) * 2 + 2 * 8 * 8 * 2
    assert products < operations < 2 * products


@pytest.mark.parametrize("microbatches", [1, 4])
def test_loops_count_as_often_as_they_turn(microbatches):
    """XLA's count has the body of a loop once: a sixth of the layers, a quarter of the rows."""
    batch = {"x": np.ones((8, 32), np.float32), "y": np.zeros(8, np.int32)}

    def counted(module):
        net = fn.functionalize(module)
        run = fn.training.TrainState.create(net, OPTIMIZER, jax.random.key(0))
        objective = fn.training.supervised(
            net, F.cross_entropy, inputs="x", targets="y", microbatches=microbatches
        )
        leaves, structure = jax.tree.flatten((run, batch))
        return speed._operations(
            objective, OPTIMIZER, None, structure, tuple(map(speed._shape_of, leaves))
        )

    looped = counted(nn.Repeat(nn.Linear(32, 32), 6))
    written_out = counted(nn.Sequential(*[nn.Linear(32, 32) for _ in range(6)]))
    products = 6 * 3 * 2 * 8 * 32 * 32  # forward, and two backward
    assert 0.9 * products < written_out < 1.5 * products
    assert looped == pytest.approx(written_out, rel=0.1)


def test_tokens_by_a_function(clock):
    observer = Throughput(every=1, tokens=lambda batch: (batch["y"] >= 0).sum())
    found = driven(observer, clock, [("step", 1.0), ("step", 2.0)])
    assert found[0][1]["tokens_per_second"] == 4.0


@pytest.mark.parametrize(("kind", "peak"), [
    ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-40GB", 312e12),
    ("NVIDIA L4", 121e12),
    ("NVIDIA L40S", 362e12), ("Tesla T4", 65e12), ("Tesla V100-SXM2-16GB", 125e12), ("TPU v5p", 459e12),
    ("TPU v5 lite", 197e12), ("cpu", None), ("NVIDIA A40", 150e12), ("NVIDIA A10G", 70e12), ("NVIDIA H200", 989e12),
    ("NVIDIA GH200 480GB", 989e12), ("NVIDIA RTX A4000", None), ("NVIDIA RTX A1000", None), ("NVIDIA T400 4GB", None),
    ("NVIDIA A10", 125e12), ("TPU v5", 459e12), ("TPU v5e", 197e12), ("TPU v4", 275e12), ("TPU v6 lite", 918e12),
    ("NVIDIA GeForce RTX 4090", 165e12), ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("AMD Instinct MI300X", 1307e12),
])  # fmt: skip
def test_known_peaks(kind, peak):
    device = types.SimpleNamespace(device_kind=kind)
    array = types.SimpleNamespace(sharding=types.SimpleNamespace(device_set=[device]))
    assert speed.peak_of(array) == peak


def test_of_a_real_run_there_is_no_share_without_a_peak(tmp_path):
    found = logged(tmp_path, Throughput(every=2), epochs=2)
    assert [*found] == [4, 6, 8, 10]
    for values in found.values():
        assert set(values) == {"samples_per_second", "seconds_per_step"}
        assert all(value > 0 for value in values.values())


def test_a_trace_has_the_steps_asked_for(tmp_path):
    fit([Profile(tmp_path, first=3, steps=2)], epochs=1, evaluation=None)
    (path,) = tmp_path.rglob("*.xplane.pb")
    assert path.stat().st_size > 0
    with pytest.warns(
        RuntimeWarning, match="recorded nothing: the run ended at step 5, before step 6"
    ):
        fit([Profile(tmp_path / "later", first=6)], epochs=1)
    jax.profiler.start_trace(str(tmp_path / "other"))
    with pytest.raises(RuntimeError, match="another trace is being recorded"):
        fit([Profile(tmp_path / "x", first=1)], epochs=1)
    jax.profiler.stop_trace()


def test_outside_of_its_steps_nobody_calls_a_profile(tmp_path, monkeypatch):
    called = []
    real = Profile.on_step
    monkeypatch.setattr(
        Profile, "on_step", lambda self, loop: called.append(loop.step) or real(self, loop)
    )
    profile = Profile(tmp_path, first=4, steps=2)
    for _ in range(2):  # the same object again
        fit([profile], evaluation=None)
    assert called == [3, 4, 5, 3, 4, 5]


def test_a_trace_ends_with_the_run_whatever_ends_it(tmp_path):
    with pytest.raises(RuntimeError, match="on purpose"):
        fit([Profile(tmp_path / "a", first=2, steps=100), At(4, fail)])
    fit([Profile(tmp_path / "b", first=2, steps=100)], epochs=1)
    assert all(len([*(tmp_path / name).rglob("*.xplane.pb")]) == 1 for name in "ab")


# ---- pictures ------------------------------------------------------------------------------------


def test_the_picture_has_the_curves_of_the_logs(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        live_plot, "plot", lambda records, path, **options: drawn.append([*records]) or path.touch()
    )
    plot = LivePlot(tmp_path / "a.png", every=2, seconds=1000, names=["*/loss", "lr"])
    fit([plot, fn.training.LearningRate(every=4)])
    records = drawn[-1]
    assert [record["step"] for record in records] == [2, 4, 5, 6, 8, 10]
    assert set().union(*records) == {"step", "epoch", "train/loss", "eval/loss", "lr"}
    assert len(drawn) == 2  # a trial, and the end
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_drawing_takes_a_twentieth_at_most(tmp_path, monkeypatch):
    now = [0.0]
    drawn = []

    def slow(records, path, **options):
        now[0] += 0.5
        drawn.append(now[0])
        path.touch()

    monkeypatch.setattr(live_plot, "plot", slow)
    monkeypatch.setattr(live_plot.time, "monotonic", lambda: now[0])
    plot = LivePlot(tmp_path / "a.png", every=1, seconds=0)
    loop = Loop(None, 0, None, None, None, History())
    plot.on_start(loop)
    for loop.step in range(1, 1001):
        now[0] += 0.1
        plot.write(loop, {"train/loss": 1.0})
    assert len(drawn) - 1 == pytest.approx(1000 * 0.1 / 10, abs=2)


def test_the_file_is_whole_and_is_a_picture(tmp_path):
    from PIL import Image

    plot = LivePlot(tmp_path / "a.png", every=1, seconds=0, log="loss")
    fit([plot], epochs=3)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.size[0] > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_a_resumed_run_draws_what_was_before(tmp_path):
    fit([LivePlot(tmp_path / "a.png")], epochs=1, checkpoint=tmp_path / "run")
    plot = LivePlot(tmp_path / "a.png")
    fit([plot], epochs=2, checkpoint=tmp_path / "run")
    assert [record["step"] for record in plot.records] == [5, 10]


def test_a_notebook_shows_one_picture_again_and_again(tmp_path, monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("again", figure))

    def display(figure, display_id):
        shown.append(("first", figure))
        return Handle()

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(live_plot, "_in_notebook", lambda: True)
    monkeypatch.setattr(live_plot, "_SHARE", 1e9)
    plot = LivePlot(every=1, seconds=0)
    fit([plot], epochs=1)
    assert [kind for kind, _ in shown][:2] == ["first", "again"]
    assert all(figure._repr_png_().startswith(b"\x89PNG") for _, figure in shown[:1])


def test_without_a_notebook_a_path_is_asked_for():
    with pytest.raises(ValueError, match="nowhere to draw"):
        fit([LivePlot()])


def test_a_wrong_ending_is_met_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match="ends in its kind"):
        fit([LivePlot(tmp_path / "a.xyz")])


# ---- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "settings", "steps"), [
    ({}, {}, [5, 10]), ({"evaluation": None}, {}, [5, 10]), ({"evaluate_every": 3}, {}, [3, 6, 9, 10]),
    ({}, {"every": 4}, [4, 8]), ({"evaluate_every": fn.training.Epochs(2)}, {"every": None}, [10]),
])  # fmt: skip
def test_the_function_is_called_when_it_should_be(tmp_path, options, settings, steps):
    found = logged(tmp_path, Samples(lambda run: int(run.step), **settings), **options)
    assert found == {step: {"samples": step} for step in steps}


def test_what_it_returns_is_checked_and_copied(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=50)

    def look(run):
        return {
            "number": jnp.float32(0.5), "text": "x", "histogram": run.params["0"]["bias"], "picture": np.eye(3),
            "figure": figure, "nothing": np.zeros((2, 2, 2, 3), np.uint8),
        }  # fmt: skip

    (found,) = logged(tmp_path, Samples(look, name="s"), epochs=1).values()
    assert found["s/number"] == 0.5
    assert found["s/text"] == "x"
    assert found["s/histogram"].shape == (8,)
    assert found["s/picture"].shape == (1, 3, 3, 1)
    assert found["s/figure"].shape == (1, 50, 50, 3)
    assert found["s/nothing"].shape == (2, 2, 2, 3)
    assert logged(tmp_path, Samples(lambda run: None), epochs=1) == {}
    for wrong in (object(), {"a": {"b": 1}}, np.zeros((2, 2, 5)), 1j):
        with pytest.raises(TypeError):
            fit([Samples(lambda run, wrong=wrong: wrong)])
    with pytest.raises(TypeError, match="takes a function"):
        Samples(3)


def test_figures_of_pyplot_are_closed(tmp_path):
    from matplotlib import pyplot

    found = logged(tmp_path, Samples(lambda run: pyplot.figure(figsize=(1, 1), dpi=50), every=5))
    assert [values["samples"].shape for values in found.values()] == [(1, 50, 50, 3)] * 2
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(("array", "expected"), [
    (np.full((1, 1), 0.5), 128), (np.full((1, 1), 2.0), 255), (np.full((1, 1), np.nan), 0), (np.full((1, 1), 300), 255),
    (np.full((1, 1), -5), 0), (np.full((1, 1), True), 255), (np.full((1, 1), 7, np.uint8), 7),
    (np.full((1, 1), np.inf), 255),
])  # fmt: skip
def test_pixels(array, expected):
    assert as_pictures(array).tolist() == [[[[expected]]]]


def test_csv_has_numbers_and_json_has_texts_of_samples(tmp_path):
    def look(run):
        return {"number": 1.5, "text": "x", "picture": np.eye(3)}

    logs = [CSVLog(tmp_path / "a.csv", None), JSONLog(tmp_path / "a.jsonl", None)]
    fit([*logs, Samples(look)], epochs=1)
    row = json.loads((tmp_path / "a.jsonl").read_text())
    assert {n: v for n, v in row.items() if "samples" in n} == {
        "samples/number": 1.5,
        "samples/text": "x",
    }
    header = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert "samples/number" in header
    assert "text" not in header
