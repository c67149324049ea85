"""The metrics that fit and evaluate are given: their names, states that add up, and values as records hold them."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.training.averages import as_function, weighed
from funcnet.training.metrics.base import Metric
from funcnet.training.objective import Measured

__all__ = ["NamedMetrics"]


_WORDS = {"IoU": "iou", "ROCAUC": "roc_auc"}
"""Names whose capitals do not tell where a word begins."""


@dataclass(frozen=True)
class NamedMetrics:
    """Metrics by their names: objects that add up, and functions whose means are taken.

    Hashable, so that steps made with the same ones are compiled once.

    Attributes:
        objects: names and `metrics.Metric` objects.
        functions: names and functions ``(outputs, targets) -> scalar``.
    """

    objects: tuple[tuple[str, Metric], ...] = ()
    functions: tuple[tuple[str, Callable[..., Any]], ...] = ()

    @classmethod
    def of(cls, metrics: Any) -> "NamedMetrics":
        """Read a mapping of names, or a list whose entries are named after their classes or functions.

        Raises:
            TypeError: something that is no metric.
            ValueError: a name that two of a list have, or an entry of a list without one.

        Example:
            >>> from funcnet.training.named_metrics import NamedMetrics
            >>> M = fn.training.metrics
            >>> found = NamedMetrics.of([M.FBeta(3), M.ROCAUC(), fn.training.accuracy])
            >>> [name for name, _ in (*found.objects, *found.functions)]
            ['f_beta', 'roc_auc', 'accuracy']
        """
        pairs = _pairs(metrics)
        for name, metric in pairs:
            if not callable(metric) and not isinstance(metric, Metric):
                raise TypeError(
                    f"metrics= takes metrics such as training.metrics.FBeta(10), and functions (outputs, targets) -> "
                    f"scalar; {name!r} is a {type(metric).__name__}"
                )
        objects = tuple(pair for pair in pairs if isinstance(pair[1], Metric))
        functions = [pair for pair in pairs if not isinstance(pair[1], Metric)]
        return cls(objects, tuple((name, as_function(function)) for name, function in functions))

    def check_names(self, taken: Mapping[str, Any]) -> None:
        """Raise if the objective reports something of a metric's name.

        Raises:
            ValueError: it does.
        """
        both = sorted(taken.keys() & {name for name, _ in (*self.objects, *self.functions)})
        if both:
            raise ValueError(
                f"the objective reports {', '.join(both)} itself: leave it out of metrics=, or give the metric another "
                "name, metrics={'name': metric}"
            )

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        return {name: metric.init() for name, metric in self.objects}

    def update(self, state: PyTree, found: Measured) -> tuple[PyTree, Measured]:
        """Count a batch; return the state, and what was measured with the functions' means in it.

        Raises:
            TypeError: the objective was written by hand.
        """
        if not self.objects and not self.functions:
            return state, found
        rows = found.rows
        if rows is None:
            raise TypeError(
                "metrics= count a model's outputs and targets, which an objective written by hand does not show: make "
                "it with training.supervised(net, loss, inputs=..., targets=...), or report means in the dict that it "
                "returns"
            )
        self.check_names(found.metrics)
        metrics, weights = dict(found.metrics), dict(found.weights)
        for name, function in self.functions:
            metrics[name], weights[name] = weighed(function, rows)
        for name, metric in self.objects:
            with _naming(name):
                counted = metric.update(state[name], rows.outputs, rows.targets, where=rows.valid)
            state = {**state, name: counted}
        return state, Measured(metrics, weights, rows)

    def read(self, state: PyTree) -> dict[str, Any]:
        """Return the values: floats, and arrays where a metric has one for each class, or pair of classes.

        A dict is taken apart: ``"classes/macro"``. This waits for the device.

        Raises:
            ValueError: outputs or targets did not fit a metric's settings; the message says what they were.
        """
        found: dict[str, Any] = {}
        for name, metric in self.objects:
            with _naming(name):
                value = metric.compute(state[name])
            found |= _flat(name, jax.device_get(value))
        return found

    def problems(self, state: PyTree) -> list[str]:
        """Say why values are ``nan``: a sentence for each reason, with the metric's name."""
        return [
            f"{name}: {text}"
            for name, metric in self.objects
            for text in metric.problems(state[name])
        ]


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Have an error say which of the metrics raised it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"(the metric {name!r} of metrics=)")
        raise


def _pairs(metrics: Any) -> list[tuple[str, Any]]:
    if metrics is None:
        return []
    if isinstance(metrics, Mapping):
        return [*metrics.items()]
    if not isinstance(metrics, Sequence) or isinstance(metrics, str):
        raise TypeError(
            "metrics= takes a list of metrics, or names to metrics, such as [training.metrics.FBeta(10)]; got "
            f"{type(metrics).__name__}"
        )
    pairs = [(_name(metric), metric) for metric in metrics]
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(
            f"metrics= has two metrics named {twice[0]!r}: give names, metrics={{'{twice[0]}_macro': ..., "
            f"'{twice[0]}_micro': ...}}"
        )
    return pairs


def _name(metric: Any) -> str:
    """Return a function's name, or that of an object's class in snake case."""
    if isinstance(metric, Metric):
        word = type(metric).__name__
        word = _WORDS.get(word, word)
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", word).lower()
    name = getattr(metric, "__name__", "<lambda>")
    if name == "<lambda>":
        raise ValueError(
            f"{metric!r} in the list metrics= has no name: give it one, metrics={{'name': function}}"
        )
    return name


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Take dicts and tuples apart; let scalars be floats."""
    if isinstance(value, Mapping):
        parts = [_flat(f"{name}/{key}", part) for key, part in value.items()]
        return {key: part for flat in parts for key, part in flat.items()}
    if isinstance(value, tuple | list):
        return _flat(name, dict(enumerate(value)))
    array = np.asarray(value)
    return {name: array if array.ndim else float(array)}
