"""Pictures of the reference: what is drawn, small, the same each time."""

import xml.etree.ElementTree as ET

import jax
import numpy as np
import pytest

from docs.generation.names import public_names
from docs.generation.pictures import alt_text, pages, picture, picture_of
from docs.generation.pictures.svg import Curve, draw, ticks
from docs.generation.pictures.tables import ACTIVATIONS, LOSSES, SCHEDULES
from funcnet.functional.activations import (
    exponential,
    gated,
    hard,
    rectified,
    shrinkage,
    sigmoid,
    softmax,
)
from funcnet.optim import schedules

NAMES = (*ACTIVATIONS, *SCHEDULES, *LOSSES)


def test_pictures_are_small_and_say_what_they_show():
    with jax.numpy_dtype_promotion("standard"):
        drawn = pages()
    assert set(drawn) == {f"reference/pictures/{name}.svg" for name in NAMES}
    for path, text in drawn.items():
        root = ET.fromstring(text)
        assert root[0].text == alt_text(path.rpartition("/")[2].removesuffix(".svg"))
        assert len(text) < 4000, path
        assert "nan" not in text


@pytest.mark.parametrize("name", ["gelu", "one_cycle", "huber_loss"])
def test_pictures_are_the_same_each_time(name):
    with jax.numpy_dtype_promotion("standard"):
        assert picture(name) == picture(name)


def test_a_page_asks_for_its_picture():
    for path in ("funcnet.nn.ReLU", "funcnet.functional.relu"):
        shown = picture_of(path)
        assert shown is not None
        assert shown.startswith(".. image:: /reference/pictures/relu.svg\n")
        assert ":alt: ReLU from" in shown
    assert picture_of("funcnet.nn.Linear") is None
    assert "``cosine(1.0, T_max=50)``" in (picture_of("funcnet.optim.schedules.cosine") or "")
    public = {name.path for name in public_names()}
    shown = {path: picture_of(path) for path in public if picture_of(path)}
    asked = {text.split()[2] for text in shown.values() if text}
    assert asked == {f"/reference/pictures/{name}.svg" for name in NAMES}


def test_every_activation_of_one_number_and_every_schedule_is_drawn():
    several = {"glu", "gumbel_softmax", "log_softmax", "softmax", "softmin"}
    rooms = (exponential, gated, hard, rectified, shrinkage, sigmoid, softmax)
    assert {name for room in rooms for name in room.__all__} - several == set(ACTIVATIONS)
    no_curves = {"Plateau", "PlateauState", "Recurrence", "reduce_on_plateau", "values"}
    assert set(schedules.__all__) - no_curves == set(SCHEDULES)


def test_a_line_breaks_where_its_value_jumps_and_leaves_out_what_is_straight():
    x = np.linspace(-1, 1, 200)
    text = draw([Curve("step", x, np.where(x > 0, 1.0, 0.0))], "A step", "x")
    (path,) = [line for line in text.splitlines() if 'fill="none"' in line]
    assert path.count("M") == 2
    assert path.count(" ") < 20


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-5, 5, [-4, -2, 0, 2, 4]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 0.01, None)],
)
def test_ticks_are_round(low, high, expected):
    found = ticks(low, high)
    assert all(low <= t <= high for t in found)
    assert 3 <= len(found) <= 7
    if expected:
        assert np.allclose(found, expected)
