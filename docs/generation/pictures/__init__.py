"""Pictures of the reference: each activation with its derivative, each schedule, each loss of one number.

They are made from the package itself when the site is built, and change with it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from docs.generation.pictures.svg import Curve, draw
from docs.generation.pictures.tables import ACTIVATIONS, LOSSES, RANGES, SCHEDULES, WHERE
from funcnet.optim.schedules import values

__all__ = ["alt_text", "pages", "picture", "picture_of"]

FOLDER = "reference/pictures"


def pages() -> dict[str, str]:
    """Draw all pictures, by path."""
    names = (*ACTIVATIONS, *SCHEDULES, *LOSSES)
    return {f"{FOLDER}/{name}.svg": picture(name) for name in names}


def picture(name: str) -> str:
    """Draw one picture, as SVG: ``"relu"``, ``"cosine"``, ``"mse_loss"``."""
    if name in ACTIVATIONS:
        return _activation(name)
    return _schedule(name) if name in SCHEDULES else _loss(name)


def picture_of(path: str) -> str | None:
    """Write what shows the picture of a public name, in reStructuredText; None where there is none.

    Args:
        path: the dotted name: ``funcnet.nn.ReLU``.
    """
    name = _pictured().get(path)
    if name is None:
        return None
    kind, caption = "image", ""
    if name in SCHEDULES:
        kind, caption = "figure", f"\n\n   ``{SCHEDULES[name].code}``"
    options = f"   :alt: {alt_text(name)}\n   :class: reference-picture"
    return f".. {kind}:: /{FOLDER}/{name}.svg\n{options}{caption}"


def alt_text(name: str) -> str:
    """Say what a picture shows: ``"relu"``, ``"cosine"``, ``"mse_loss"``."""
    if name in ACTIVATIONS:
        said = f"{ACTIVATIONS[name][0]} {WHERE[name]}" if name in WHERE else ACTIVATIONS[name][0]
        low, high = _range(name)
        return f"{said} from {low:g} to {high:g}, and its derivative".replace("-", "\u2212")
    if name in SCHEDULES:
        picture = SCHEDULES[name]
        return f"{picture.what.capitalize()} over {picture.steps} steps of {picture.code}"
    picture = LOSSES[name]
    curves = f" for {', '.join(picture.curves)}" if len(picture.curves) > 1 else ""
    return f"{picture.layer} as a function of {picture.across}{curves}"


@cache
def _pictured() -> dict[str, str]:
    layers = {f"funcnet.nn.{layer}": name for name, (layer, _) in ACTIVATIONS.items()}
    layers |= {f"funcnet.nn.{picture.layer}": name for name, picture in LOSSES.items()}
    functions = {f"funcnet.functional.{name}": name for name in (*ACTIVATIONS, *LOSSES)}
    return layers | functions | {f"funcnet.optim.schedules.{name}": name for name in SCHEDULES}


def _range(name: str) -> tuple[float, float]:
    return RANGES.get(name, (-5.0, 5.0))


def _activation(name: str) -> str:
    label, function = ACTIVATIONS[name]
    # an even number of points: none is at a kink, where the derivative is a matter of choice
    x = jnp.linspace(*_range(name), 400)
    slope = jax.vmap(jax.grad(lambda v: jnp.sum(function(v))))(x)
    curves = [
        _curve(label, x, function(x)),
        _curve("derivative", x, slope, dashed=True),
    ]
    return draw(curves, alt_text(name), "x")


def _schedule(name: str) -> str:
    picture = SCHEDULES[name]
    y = values(picture.schedule, picture.steps + 1)
    curve = _curve(picture.what, np.arange(len(y)), y, broken=False)
    return draw([curve], alt_text(name), "step", picture.what)


def _loss(name: str) -> str:
    picture = LOSSES[name]
    x = jnp.linspace(picture.low, picture.high, 300)
    curves = [
        _curve(label, x, _each(function, x), broken=False)
        for label, function in picture.curves.items()
    ]
    return draw(curves, alt_text(name), picture.across, "" if len(curves) > 1 else "loss")


def _each(loss: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    return jax.vmap(lambda v: loss(v[None]))(x)


def _curve(label: str, x: Any, y: Any, dashed: bool = False, broken: bool = True) -> Curve:
    return Curve(label, np.asarray(x, float), np.asarray(y, float), dashed, broken)
