"""Pictures of awkward data: what is drawn is read back from the figure, and files are whole or not there."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.training import pictures
from funcnet.training.pictures.images import as_colours
from funcnet.training.pictures.records import read_records

pytest.importorskip("matplotlib")

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".jpg": b"\xff\xd8"}


def rows(images):
    """Logits and labels where the first half are mistakes, the worst last."""
    labels = np.zeros(images, np.int64)
    logits = np.stack([np.zeros(images), np.arange(images) - images // 2 + 0.5], 1)
    return labels, -logits if images == 0 else logits


DRAWN = {
    "attention": lambda path: pictures.attention_maps(np.eye(3)[None], path),
    "confusion": lambda path: pictures.confusion_matrix(np.eye(3, dtype=int), path),
    "curves": lambda path: pictures.plot([{"step": 1, "loss": 2.0}], path),
    "filters": lambda path: pictures.filter_images(np.ones((2, 1, 3, 3)), path),
    "images": lambda path: pictures.image_grid(np.zeros((2, 4, 4)), path),
    "mistakes": lambda path: pictures.worst_mistakes(np.zeros((4, 4, 4)), *rows(4), path),
    "no mistakes": lambda path: pictures.worst_mistakes(np.zeros((2, 4, 4)), [0, 1], [0, 1], path),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_is_a_figure_and_a_file(name, tmp_path):
    from matplotlib.figure import Figure

    path = tmp_path / "deep" / "picture.png"
    assert isinstance(DRAWN[name](path), Figure)
    assert path.read_bytes().startswith(SIGNATURES[".png"])
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("kind", SIGNATURES)
def test_the_ending_says_which_kind_of_file(kind, tmp_path):
    path = tmp_path / f"picture{kind}"
    DRAWN["curves"](path)
    assert path.read_bytes().startswith(SIGNATURES[kind])


@pytest.mark.parametrize("name", ["picture", "picture.docx"])
def test_an_unknown_ending_is_told_and_writes_nothing(name, tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf"):
        DRAWN["curves"](tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_notebook_is_given_a_picture_without_pyplot():
    figure = DRAWN["curves"](None)
    assert figure._repr_png_().startswith(SIGNATURES[".png"])
    code = (
        "import sys, funcnet as fn\n"
        "fn.training.plot([{'step': 1, 'loss': 2.0}])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    from funcnet.training.pictures.style import _figure_class

    _figure_class.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install matplotlib, or \"funcnet\[examples\]\""):
        DRAWN["curves"](None)


# ---- style ---------------------------------------------------------------------------------------


def test_curves_differ_up_to_32():
    styles = {tuple(pictures.curve_style(number).items()) for number in range(32)}
    assert len(styles) == 32


# How the three kinds of cones see sRGB light, and what is left without one of them: Viénot, Brettel and Mollon,
# Digital video colourmaps for checking the legibility of displays by dichromats, 1999.
CONES = np.array(
    [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
)
MISSING = {
    "protan": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
    "deutan": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
}


@pytest.mark.parametrize("kind", MISSING)
def test_the_palette_stays_apart_without_one_kind_of_cone(kind):
    colours = [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in pictures.PALETTE]
    linear = np.array(colours) ** 2.2
    seen = linear @ (np.linalg.inv(CONES) @ MISSING[kind] @ CONES).T
    seen = np.clip(seen, 0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    # of matplotlib's own first five colours the nearest are 0.08 apart
    assert distances[~np.eye(len(seen), dtype=bool)].min() > 0.12


# ---- curves --------------------------------------------------------------------------------------


def test_training_and_evaluation_share_a_panel_with_units():
    records = [
        {
            "epoch": e,
            "step": 10 * e,
            "seconds": 2.0 * e,
            "train/loss": 1 / e,
            "eval/loss": 2 / e,
            "eval/accuracy": 0.5,
        }
        for e in (1, 2, 3)
    ]
    figure = fn.training.plot(fn.training.History(records), units={"loss": "nats"})
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (nats)", "accuracy (fraction)"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["eval"].get_xydata().tolist() == [[1, 2], [2, 1], [3, 2 / 3]]
    assert lines["train"].get_color() != lines["eval"].get_color()
    in_time = fn.training.plot(records, x="seconds", names="train/loss")
    assert in_time.axes[0].get_xlabel() == "time (s)"
    assert in_time.axes[0].lines[0].get_xdata().tolist() == [2, 4, 6]


def test_evaluations_within_an_epoch_are_drawn_over_steps():
    records = [
        {"epoch": 1, "step": 5, "eval/loss": 2.0},
        {"epoch": 1, "step": 10, "eval/loss": 1.0},
    ]
    figure = fn.training.plot(records)
    assert figure.axes[0].get_xlabel() == "step"
    assert figure.axes[0].lines[0].get_xdata().tolist() == [5, 10]


@pytest.mark.parametrize("log", [False, True])
def test_what_is_not_finite_is_marked_on_the_axis(log):
    values = [1.0, np.nan, np.inf, 0.5, -1.0]
    records = [{"step": i, "loss": value} for i, value in enumerate(values)]
    axes = fn.training.plot(records, log="loss" if log else ()).axes[0]
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    assert crosses.get_xdata().tolist() == ([1, 2, 4] if log else [1, 2])
    shown = axes.lines[0].get_ydata()
    assert np.isfinite(shown).tolist() == [True, False, False, True, not log]


def test_one_epoch_and_nothing_finite_are_pictures_too(tmp_path):
    for value in (1.0, float("nan")):
        figure = fn.training.plot(
            [{"epoch": 1, "step": 3, "train/loss": value}], tmp_path / "a.png"
        )
        assert figure.axes[0].get_xlim() == (0, 2)


def test_several_runs_by_name_keep_odd_names():
    records = [{"step": i, "train/loss": 1.0, "eval/loss": 2.0} for i in range(3)]
    names = ["_hidden", "costs $5 and $6", "a very long name " * 3]
    figure = fn.training.plot(dict.fromkeys(names, records))
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    texts += [
        t.get_text() for a in figure.axes if a.get_legend() for t in a.get_legend().get_texts()
    ]
    assert texts == [f"{name}, {part}" for name in names for part in ("train", "eval")]


def test_groups_of_one_metric_share_a_panel():
    records = [
        {"step": i, "grad_norm/a": 1.0, "grad_norm/b": 2.0, "train/loss": 0.0} for i in range(3)
    ]
    figure = fn.training.plot(records)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "grad norm"]
    assert len(figure.axes[1].lines) == 2
    assert len(fn.training.plot(records, names="grad_norm/a").axes[0].lines) == 1


def test_smoothing_is_a_mean_of_what_is_finite():
    values = [1.0, 3.0, np.nan, 5.0]
    records = [{"step": i, "loss": value} for i, value in enumerate(values)]
    lines = fn.training.plot(records, smooth=2).axes[0].lines
    assert lines[1].get_ydata().tolist() == [1.0, 2.0, 3.0, 5.0]


def test_logs_are_read_as_far_as_they_are_whole(tmp_path):
    csv, jsonl = tmp_path / "log.csv", tmp_path / "log.jsonl"
    csv.write_text("step,train/loss,note\n1,2.5,a\n2,nan,\n3,1.")
    jsonl.write_text(
        '{"step": 1, "train/loss": 2.5, "note": "a"}\n{"step": 2, "train/loss": NaN}\n{"st'
    )
    for path in (csv, jsonl):
        lines = fn.training.plot(path).axes[0].lines
        np.testing.assert_array_equal(lines[0].get_xydata(), [[1, 2.5], [2, np.nan]])


def test_signs_that_separate_lines_elsewhere_do_not_in_a_log(tmp_path):
    lines = [json.dumps({"step": 1, "loss": 2.0, "note": "a\u2028b\x85c"}, ensure_ascii=False)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"step": 2, "lo']), "utf-8")
    assert read_records(tmp_path / "a.jsonl") == [{"step": 1.0, "loss": 2.0}]


def test_a_log_that_went_back_to_a_checkpoint_forgets_what_was_undone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,9\n2,8\n3,7\n2,5\n3,4\n")
    assert fn.training.plot(path).axes[0].lines[0].get_ydata().tolist() == [9, 5, 4]


@pytest.mark.parametrize(
    ("history", "error", "words"),
    [
        (fn.training.History(), ValueError, "no record has been made yet"),
        ({}, ValueError, "no record has been made yet"),
        ([fn.training.History()], TypeError, "a dict of those by name"),
        (3, TypeError, "expected a History"),
        ("log.txt", ValueError, r"ends in \.csv"),
        ([{"loss": 1.0}], ValueError, "no record has both"),
    ],
)
def test_mistakes_of_curves_teach(history, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("log.txt").write_text("a\n")
    with pytest.raises(error, match=words):
        fn.training.plot(history)


def test_an_unknown_metric_lists_those_there_are():
    with pytest.raises(KeyError, match="there are: train/loss"):
        fn.training.plot([{"step": 1, "train/loss": 1.0}], names="accuracy")


# ---- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_and_last_are_the_same_picture(channels, rng):
    images = rng.random((5, 6, 7, channels))
    last = as_colours(images)
    assert last.shape == (5, 6, 7, max(channels, 3))
    np.testing.assert_array_equal(as_colours(np.moveaxis(images, -1, 1)), last)
    if channels == 1:
        np.testing.assert_array_equal(as_colours(images[..., 0]), last)


def test_shapes_that_fit_both_orders_ask_which():
    with pytest.raises(ValueError, match="channels='first' or 'last'"):
        pictures.image_grid(np.zeros((2, 3, 5, 3)))
    assert as_colours(np.zeros((2, 3, 5, 3)), "first").shape == (2, 5, 3, 3)
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        pictures.image_grid(np.zeros((2, 5, 5, 2)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.uint8([0, 51, 255]), [0, 0.2, 1]),
        (np.int32([0, 51, 255]), [0, 0.2, 1]),
        (np.float32([0.25, 0.5]), [0.25, 0.5]),
        (np.float32([-1, 0, 3]), [0, 0.25, 1]),
        (np.array([True, False]), [1, 0]),
        (np.float32([7, 7]), [0, 0]),
    ],
)
def test_values_are_scaled_by_what_they_are(values, expected):
    found = as_colours(values.reshape(1, 1, -1))[0, 0, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_not_finite_has_a_colour_of_its_own():
    image = np.array([[[0.5, np.nan], [np.inf, 1.0]]])
    found = as_colours(image)[0]
    assert np.allclose(found[0, 1], [0xD5 / 255, 0x5E / 255, 0])
    assert np.allclose(found[1, 0], found[0, 1])
    assert np.allclose(found[1, 1], 1)


def test_the_worst_mistakes_come_first():
    labels, logits = rows(8)
    figure = pictures.worst_mistakes(np.zeros((8, 4, 4)), labels, logits, number=3)
    losses = [float(axes.get_title().split()[-1]) for axes in figure.axes]
    assert losses == sorted(losses, reverse=True)
    assert figure.axes[0].get_title().startswith("0, taken for 1")
    assert figure.get_suptitle() == "the worst 3 of 4 mistakes of 8"


def test_losses_that_are_not_finite_are_the_worst():
    figure = pictures.worst_mistakes(
        np.zeros((3, 4, 4)), np.arange(3), losses=[1.0, np.nan, 2.0], number=2
    )
    assert [axes.get_title() for axes in figure.axes] == ["1\nloss nan", "2\nloss 2"]


def test_mistakes_of_mistakes_teach():
    with pytest.raises(ValueError, match="outputs or losses"):
        pictures.worst_mistakes(np.zeros((2, 4, 4)), [0, 1])
    with pytest.raises(ValueError, match="images 3, labels 2"):
        pictures.worst_mistakes(np.zeros((3, 4, 4)), np.array([0, 1]), np.zeros((2, 2)))


# ---- confusion, filters, attention ---------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 20, 21, 100])
def test_confusions_of_few_and_many_classes(classes):
    matrix = np.eye(classes, dtype=int) * 7
    names = [f"class number {i} of a long name" for i in range(classes)]
    axes = pictures.confusion_matrix(matrix, names=names).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == f"accuracy 1.000 of {7 * classes:,} samples"
    assert len(axes.texts) == (classes if classes <= 20 else 0)
    assert len(axes.get_yticklabels()) == classes
    assert len(pictures.confusion_matrix(matrix).axes[0].get_yticklabels()) <= 26


def test_a_class_without_samples_and_large_counts():
    axes = pictures.confusion_matrix([[1_234_567, 0], [0, 0]]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.23M"]


@pytest.mark.parametrize(
    "matrix", [np.zeros((2, 3)), np.full((2, 2), np.nan), -np.eye(2), np.zeros(0)]
)
def test_what_is_no_confusion_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match=r"confusion matrix is|negative or not finite"):
        pictures.confusion_matrix(matrix)


@pytest.mark.parametrize(
    ("shape", "of", "panels"),
    [((5, 3, 7, 7), None, 5), ((5, 1, 3, 3), None, 6), ((2, 4, 3, 3), None, 9), ((3, 2, 9), None, 7),
     ((4, 12), (3, 4), 5), ((4, 12), (3, 2, 2), 4)],
)  # fmt: skip
def test_filters_of_all_layers(shape, of, panels):
    figure = pictures.filter_images(np.ones(shape), shape=of)
    assert len(figure.axes) == panels  # with the bar that tells the scale, unless in colours


def test_attention_is_asked_of_layers_that_are_not_asked_for_it():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = fn.functionalize(nn.Sequential(nn.Repeat(layer, 2), nn.Remat(nn.Linear(8, 8))))
    params, state = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 5, 8))
    weights = pictures.attention_weights(net, params, state, x)
    assert [value.shape for value in weights.values()] == [(3, 2, 5, 5)] * 2
    # the first layer's, computed by hand
    here = jax.tree.map(lambda leaf: leaf[0], params["0"])["module"]["self_attn"]
    packed = x @ here["in_proj_weight"].T + here["in_proj_bias"]
    query, key, _ = (part.reshape(3, 5, 2, 4) for part in jnp.split(packed, 3, -1))
    expected = jax.nn.softmax(jnp.einsum("nlhe,nshe->nhls", query, key) / 2.0)
    np.testing.assert_allclose(next(iter(weights.values())), expected, rtol=2e-5)
    # and the model itself returns what it did
    assert net.apply(params, state, x)[0].shape == (3, 5, 8)


def test_attention_that_does_not_tell_is_named():
    net = fn.functionalize(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"no nn\.MultiheadAttention"):
        pictures.attention_weights(net, *net.init(jax.random.key(0)), jnp.ones((1, 2)))


def test_tokens_are_as_many_as_positions():
    weights = np.full((2, 3, 4), 0.25)
    figure = pictures.attention_maps(weights, queries=list("abc"), keys=["$x", "_y", "z", "w" * 40])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="there are 4 keys, but 3 tokens"):
        pictures.attention_maps(weights, keys=list("abc"))
    with pytest.raises(IndexError, match="there are 2 examples"):
        pictures.attention_maps(np.zeros((2, 1, 3, 3)), example=2)
