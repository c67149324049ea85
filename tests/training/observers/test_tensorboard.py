"""TensorBoardLog, read back by TensorBoard's own readers."""

import doctest
import io
import json
import math
import sys
import warnings

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim
from funcnet.training import TensorBoardLog
from tests.training.observers.runs import At, batches, fail, fit
from tests.training.observers.test_line_logs import AWKWARD, Reports, at

pytest.importorskip("tensorboard")


@pytest.fixture(scope="module")
def reader():
    """TensorBoard's accumulator of the events of one folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing import event_accumulator

    def read(folder):
        sizes = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 0)  # all of them
        found = event_accumulator.EventAccumulator(str(folder), sizes)
        found.Reload()
        return found

    return read


def curve(found, name):
    return {event.step: event.value for event in found.Scalars(name)}


def test_scalars_are_those_of_the_history(tmp_path, reader):
    _, history = fit([TensorBoardLog(tmp_path, every=None)], epochs=3, evaluate_every=2)
    found = reader(tmp_path)
    names = {name for record in history.records for name in record if "/" in name}
    assert set(found.Tags()["scalars"]) == names == {
        "train/loss", "train/accuracy", "eval/loss", "eval/accuracy"
    }  # fmt: skip
    for name in names:
        expected = {r["step"]: np.float32(r[name]) for r in history.records if name in r}
        assert curve(found, name) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-30, 3])
def test_scalars_that_are_not_finite(tmp_path, reader, value):
    fit([TensorBoardLog(tmp_path, every=None), Reports({"x": value}, every=5)], epochs=1)
    assert np.array_equal([*curve(reader(tmp_path), "x").values()], [np.float32(value)], True)


def test_awkward_names(tmp_path, reader):
    values = {name: float(place) for place, name in enumerate(AWKWARD) if name}
    fit([TensorBoardLog(tmp_path, every=None), Reports(values, every=5)], epochs=1)
    found = reader(tmp_path)
    for name, value in values.items():
        assert curve(found, name.replace("\ud800", "?")) == {5: value}


def test_histograms_hold_the_parameters(tmp_path, reader):
    run, _ = fit([TensorBoardLog(tmp_path, histograms=["*weight", "0.bias"])], epochs=2)
    found = reader(tmp_path)
    assert sorted(found.Tags()["histograms"]) == [
        "params/0.bias",
        "params/0.weight",
        "params/2.weight",
    ]
    for name in found.Tags()["histograms"]:
        events = found.Histograms(name)
        assert [event.step for event in events] == [5, 10]
        module, kind = name.removeprefix("params/").split(".")
        values = np.asarray(run.params[module][kind], np.float64)
        last = events[-1].histogram_value
        assert (last.num, sum(last.bucket)) == (values.size, values.size)
        assert (last.min, last.max) == (values.min(), values.max())
        np.testing.assert_allclose([last.sum, last.sum_squares], [values.sum(), (values**2).sum()])
        counts, _ = np.histogram(values, [-np.inf, *last.bucket_limit[:-1], np.inf])
        assert counts.sum() == sum(last.bucket)


@pytest.mark.parametrize(
    "values", [[], [1.0], [2.0, 2.0], [np.nan, 1.0], [np.inf, -np.inf], [1j, 2.0]]
)
def test_histograms_of_awkward_arrays(tmp_path, reader, values):
    fit([TensorBoardLog(tmp_path), Reports({"x": np.array(values)}, every=5)], epochs=1)
    (event,) = reader(tmp_path).Histograms("x")
    assert event.histogram_value.num == np.isfinite(values).sum()


def test_histograms_without_evaluation_come_after_epochs(tmp_path, reader):
    fit([TensorBoardLog(tmp_path, histograms="0.*")], evaluation=None)
    events = reader(tmp_path).Histograms("params/0.weight")
    assert [event.step for event in events] == [5, 10]


def test_texts_and_pictures(tmp_path, reader, rng):
    from PIL import Image

    grey, colours = rng.random((5, 7)), rng.integers(0, 256, (2, 4, 6, 3), np.uint8)
    values = {"note": "# Title\n\nsome *text* ✓", "grey": grey, "colours": colours}
    fit([TensorBoardLog(tmp_path), Reports(values, every=5)], epochs=1)
    found = reader(tmp_path)
    (event,) = found.Tensors("note")
    assert event.step == 5
    assert event.tensor_proto.string_val[0].decode() == values["note"]
    assert found.SummaryMetadata("note").plugin_data.plugin_name == "text"
    assert sorted(found.Tags()["images"]) == ["colours/0", "colours/1", "grey"]
    expected = {"grey": np.rint(grey * 255), "colours/0": colours[0], "colours/1": colours[1]}
    for name, pixels in expected.items():
        (event,) = found.Images(name)
        assert (event.height, event.width) == pixels.shape[:2]
        np.testing.assert_array_equal(
            Image.open(io.BytesIO(event.encoded_image_string)), pixels.astype(np.uint8)
        )


def test_settings_are_hyperparameters(tmp_path, reader):
    from tensorboard.plugins.hparams import metadata

    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.01))
    settings = {"width": 8, "data": "ünï", "norm": True, "left out": None, "shape": (1, 2)}
    fit([TensorBoardLog(tmp_path, settings=settings)], optimizer=optimizer)
    found = reader(tmp_path)

    def content(tag):
        return found.SummaryMetadata(tag).plugin_data.content

    start = metadata.parse_session_start_info_plugin_data(content(metadata.SESSION_START_INFO_TAG))
    kinds = {"string_value": str, "number_value": float, "bool_value": bool}
    values = {
        name: kinds[value.WhichOneof("kind")](getattr(value, value.WhichOneof("kind")))
        for name, value in start.hparams.items()
    }
    assert {n: values.get(n) for n in settings} == settings | {"left out": None, "shape": "(1, 2)"}
    assert values["epochs"] == 2
    assert values["lr"] == 0.01
    assert values["betas.1"] == 0.999
    end = metadata.parse_session_end_info_plugin_data(content(metadata.SESSION_END_INFO_TAG))
    assert end.status == 1  # STATUS_SUCCESS


def test_a_run_that_fails_says_so(tmp_path, reader):
    from tensorboard.plugins.hparams import metadata

    with pytest.raises(RuntimeError, match="on purpose"):
        fit([TensorBoardLog(tmp_path, every=1), At(3, fail)])
    found = reader(tmp_path)
    data = found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(data).status == 2  # STATUS_FAILURE
    assert [*curve(found, "train/loss")] == [1, 2, 3]


def events_of(reader, folder):
    found = reader(folder)
    return {
        (kind, name): [event.step for event in getattr(found, read)(name)]
        for kind, read in (("scalars", "Scalars"), ("histograms", "Histograms"), ("images", "Images"))
        for name in found.Tags()[kind]
    }  # fmt: skip


def test_a_resumed_run_leaves_each_step_once(tmp_path, reader):
    def observers(folder):
        others = [Reports({"picture": np.zeros((2, 2))}, every=3)]
        return [TensorBoardLog(folder, every=2, histograms="*"), *others]

    fit(observers(tmp_path / "whole"), epochs=3, checkpoint=tmp_path / "a")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="on purpose"):
            fit([*observers(tmp_path / "parts"), At(8, fail)], epochs=3, checkpoint=tmp_path / "b")
        # as if it had been killed before it could save
        keep = fn.checkpoint.Checkpointer(tmp_path / "b")
        for step in keep.steps():
            if step > 5:
                fn.checkpoint.runs.directory.remove_step(keep.directory, step)
    fit(observers(tmp_path / "parts"), epochs=3, checkpoint=tmp_path / "b")
    assert events_of(reader, tmp_path / "whole") == events_of(reader, tmp_path / "parts")
    assert len([*(tmp_path / "parts").iterdir()]) == 3


def test_a_reader_that_is_open_forgets_what_was_taken_back(tmp_path, reader):
    fit([TensorBoardLog(tmp_path, every=1)], steps=6, evaluation=None)
    found = reader(tmp_path)
    assert [*curve(found, "train/loss")] == [1, 2, 3, 4, 5, 6]
    fit([TensorBoardLog(tmp_path, every=1)], run=at(2), steps=2, evaluation=None)
    found.Reload()
    assert [*curve(found, "train/loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("torn", [b"\x05", b"\x50" + bytes(11) + b"half", bytes(11)])
def test_half_a_record_is_removed(tmp_path, reader, torn):
    fit([TensorBoardLog(tmp_path, every=1)], steps=2, evaluation=None)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    path.write_bytes(before + torn)
    fit([TensorBoardLog(tmp_path, every=1)], run=at(2), steps=2, evaluation=None)
    assert path.read_bytes() == before
    assert [*curve(reader(tmp_path), "train/loss")] == [1, 2, 3, 4]


def test_a_new_run_moves_the_old_one_into_a_folder(tmp_path, reader):
    (tmp_path / "events.out.tfevents.of.others").write_bytes(b"")
    for number in range(3):
        fit([TensorBoardLog(tmp_path, every=5), Reports({"number": number}, every=5)], epochs=1)
    for name, number in (("earlier-1", 0), ("earlier-2", 1), (".", 2)):
        assert curve(reader(tmp_path / name), "number") == {5: number}
    assert (tmp_path / "events.out.tfevents.of.others").exists()


def test_two_runs_at_a_time_are_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="give each TensorBoardLog a path of its own"):
        fit([TensorBoardLog(tmp_path), TensorBoardLog(tmp_path)], run=at(2))


def test_patterns_that_match_nothing_are_met_at_the_start(tmp_path):
    with pytest.raises(ValueError, match=r"pattern 'head\.\*' matches no path"):
        fit([TensorBoardLog(tmp_path, histograms="head.*")])


def test_bfloat16_parameters(tmp_path, reader):
    net = fn.functionalize(nn.Linear(4, 2, dtype=jax.numpy.bfloat16))
    objective = fn.training.supervised(
        net, lambda y, t: (y.astype(np.float32) ** 2).mean(), inputs=lambda b: b["x"].astype(jax.numpy.bfloat16),
        targets="y",
    )  # fmt: skip
    run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    log = TensorBoardLog(tmp_path, histograms="*")
    fn.training.fit(
        objective, optim.sgd(0.1), run, batches(2), epochs=1, observers=[log], progress=False
    )
    assert len(reader(tmp_path).Histograms("params/weight")) == 1


def test_the_example_of_the_docstring_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = TensorBoardLog.__doc__.replace("  # doctest: +SKIP", "")
    names = {"fn": fn, "nn": nn, "optim": optim, "jax": jax, "jnp": jax.numpy, "F": fn.functional}
    example = doctest.DocTestParser().get_doctest(text, names, "TensorBoardLog", None, 0)
    with jax.numpy_dtype_promotion("standard"):
        assert doctest.DocTestRunner().run(example, out=sys.stdout.write) == (0, 6)
    assert len([*(tmp_path / "runs" / "linear").iterdir()]) == 1


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    events = sys.modules["funcnet.training.observers.tensorboard_events"]
    monkeypatch.setattr(events, "_LOADED", [])
    with pytest.raises(ImportError, match="pip install tensorboard"):
        TensorBoardLog(tmp_path)  # made before anything is loaded or compiled


def test_values_too_close_together_for_buckets_are_in_one():
    events = sys.modules["funcnet.training.observers.tensorboard_events"]
    for values in (np.array([1.0, np.nextafter(1.0, 2.0)]), np.full(3, 1e20, np.float32)):
        made = events.histogram_value("a", values).histo
        assert sum(made.bucket) == made.num == len(values)


def test_json_has_the_texts_too(tmp_path):
    log = fn.training.JSONLog(tmp_path / "a.jsonl", every=None)
    fit([log, Reports({"note": "ä\n"}, every=5)], epochs=1)
    assert json.loads((tmp_path / "a.jsonl").read_text())["note"] == "ä\n"
