"""linear_probe: how well a linear model reads the targets from what a layer returns."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from funcnet import optim
from funcnet.core.aliases import Array, Params, State
from funcnet.core.checks import check_choice, check_non_negative
from funcnet.functional.losses.cross_entropy import cross_entropy
from funcnet.module import Functional
from funcnet.parallel.rules.table import Rules
from funcnet.training.objective import entry_of
from funcnet.training.predict import real_rows
from funcnet.training.probes.features import Features, Layers, flat_rows, over_batches

__all__ = ["LinearProbe", "linear_probe"]


class LinearProbe(NamedTuple):
    """A linear model over what a layer returns.

    Attributes:
        score: on the samples held out: of classes the share that is right, of numbers R².
        train_score: the same on those that it was fitted to.
        weight: ``(D, C)``.
        bias: ``(C,)``.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)))
        >>> params, state = net.init(jax.random.key(0))
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
        >>> samples = data.ArrayDataset({"image": x, "label": (x[:, 0] > 0).astype(int)})
        >>> batches = data.DataLoader(samples, batch_size=20)
        >>> probe = fn.training.linear_probe(net, params, state, "0", batches, batches)["0"]
        >>> probe.weight.shape, probe.score > 0.9
        ((8, 2), True)
    """

    score: float
    train_score: float
    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: Any) -> Array:
        """Return scores of classes, or predictions, for features ``(N, D)``."""
        x = jnp.asarray(features)
        return x @ jnp.asarray(self.weight, x.dtype) + jnp.asarray(self.bias, x.dtype)


def linear_probe(
    net: Functional,
    params: Params,
    state: State,
    patterns: str | Iterable[str],
    batches: Iterable[Any],
    held_out: Iterable[Any],
    *,
    inputs: str | Callable[[Any], Any] = "image",
    targets: str | Callable[[Any], Any] = "label",
    features: Callable[[Any], Array] = flat_rows,
    method: str = "ridge",
    penalty: float = 1.0,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> dict[str, LinearProbe]:
    r"""Fit a linear model to what layers return, and score it on samples held out.

    ``"ridge"`` solves, in 64 bits, for the weights of one-hot labels (or of targets that are floats):

    .. math:: \min_{W, b}\ \sum_i \lVert W^\top x_i + b - y_i \rVert^2 + \alpha \lVert W \rVert^2

    ``"logistic"`` makes cross entropy plus the same penalty small, with `optim.lbfgs`. The model itself is called in
    evaluation mode and stays as it is. The features of all samples are held on the host.

    Args:
        net: what `functionalize` returned.
        params: its parameters.
        state: its buffers.
        patterns: a glob, or several, on the modules' dotted paths, as in `capture`: each module that matches has a
            probe of its own.
        batches: batches to fit to. Rows that fill a batch, as ``batch["valid"]`` says, do not count.
        held_out: batches to score on.
        inputs: the key of a batch's inputs, or a function of the batch.
        targets: likewise of the targets ``(N,)``: class indices; or floats, ``(N,)`` or ``(N, K)``.
        features: from what a module returns to ``(N, *)``, which is made flat; such as
            ``lambda h: h.mean((2, 3))`` for the mean over places.
        method: ``"ridge"`` or ``"logistic"``.
        penalty: :math:`\alpha`.
        mesh: see `fit`.
        rules: likewise.

    Returns:
        For each module's path its `LinearProbe`, in the order of the model.

    Raises:
        ValueError: a glob matches no module, there are no batches, or a module gives no row for each sample.
        TypeError: float targets for ``"logistic"``, or a batch instead of batches.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)))
        >>> params, state = net.init(jax.random.key(0))
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
        >>> samples = data.ArrayDataset({"image": x, "label": (x[:, 0] > 0).astype(int)})
        >>> batches = data.DataLoader(samples, batch_size=20)
        >>> probes = fn.training.linear_probe(net, params, state, "[01]", batches, batches)
        >>> {path: probe.score > 0.9 for path, probe in probes.items()}
        {'0': True, '1': True}

    Reference: Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016,
        https://arxiv.org/abs/1610.01644.
    """
    check_choice("method", method, ("ridge", "logistic"))
    check_non_negative("penalty", penalty)
    layers = Layers(net, params, state, patterns, features, mesh, rules)
    take = (entry_of("inputs", inputs), entry_of("targets", targets))
    x, y = _gathered(layers, batches, take, "batches")
    x_test, y_test = _gathered(layers, held_out, take, "held_out")
    for read in (y, y_test):
        _check_targets(read, method)
    if y.shape[1:] != y_test.shape[1:] or _are_classes(y) != _are_classes(y_test):
        raise ValueError(
            f"targets held out must be like those that are fitted; got {y_test.dtype}{list(y_test.shape)} and "
            f"{y.dtype}{list(y.shape)}"
        )
    classes = int(max(y.max(), y_test.max())) + 1 if _are_classes(y) else None
    fit = _ridge if method == "ridge" else _logistic
    found = {}
    for path in x:
        weight, bias = fit(x[path], y, classes, penalty)
        scores = [
            _score(rows.astype(float) @ weight + bias, true, classes)
            for rows, true in ((x_test[path], y_test), (x[path], y))
        ]
        found[path] = LinearProbe(scores[0], scores[1], weight, bias)
    return found


def _gathered(
    layers: Layers, batches: Iterable[Any], take: Any, name: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the features and targets of all samples, on the host."""
    inputs, targets = take

    def look(params: Params, state: State, pair: Any, valid: Array) -> Any:
        x, y = pair
        seen: Features = layers(params, state, x, len(valid))
        return (seen, y), valid

    def pairs(batch: Any) -> Any:
        return inputs(batch), targets(batch)

    parts = [*real_rows(over_batches(layers.setup, batches, pairs, look, *layers.arrays))]
    if not sum(len(targets) for _, targets in parts):
        raise ValueError(f"{name} is empty: a probe needs samples")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _are_classes(targets: np.ndarray) -> bool:
    return not jnp.issubdtype(targets.dtype, jnp.floating)


def _check_targets(targets: np.ndarray, method: str) -> None:
    classes = _are_classes(targets)
    if classes and targets.ndim != 1:
        raise ValueError(
            f"targets of a probe are class indices (N,), or floats (N,) or (N, K); got integers of shape "
            f"{targets.shape}: of one-hot rows write targets=lambda batch: batch['label'].argmax(-1)"
        )
    if classes and targets.size and targets.min() < 0:
        raise ValueError(
            f"a class index of a probe's targets is {targets.min()}: leave such samples out"
        )
    if not classes and method == "logistic":
        raise TypeError(
            "method='logistic' takes class indices; for targets of floats write method='ridge'"
        )


def _as_numbers(targets: np.ndarray, classes: int | None) -> np.ndarray:
    if classes is not None:
        return np.equal(targets[:, None], np.arange(classes)).astype(float)
    return targets.astype(float).reshape(len(targets), -1)


def _ridge(
    x: np.ndarray, targets: np.ndarray, classes: int | None, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    x, y = x.astype(float), _as_numbers(targets, classes)
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    if not penalty:
        weight = np.linalg.lstsq(x, y)[0]
    elif x.shape[1] <= len(x):
        weight = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    else:  # the same, with fewer equations
        weight = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return weight, y_mean - x_mean @ weight


def _logistic(
    x: np.ndarray, targets: np.ndarray, classes: int | None, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    assert classes is not None
    mean, size = x.mean(0, dtype=float), x.std(0, dtype=float)
    size = np.where(size > 0, size, 1)  # features of one size are found in fewer steps
    rows = jnp.asarray(((x - mean) / size).astype(np.float32))
    found = _descended(rows, jnp.asarray(targets), jnp.asarray(size, jnp.float32), penalty, classes)
    weight, bias = (np.asarray(each, float) for each in found)
    weight = weight / size[:, None]
    return weight, bias - mean @ weight


def _descended(
    rows: Array, targets: Array, size: Array, penalty: float, classes: int
) -> tuple[Array, Array]:
    def loss(model: tuple[Array, Array]) -> Array:
        weight, bias = model
        squares = jnp.sum(jnp.square(weight / size[:, None]))
        return cross_entropy(rows @ weight + bias, targets) + penalty * squares / len(rows)

    optimizer = optim.lbfgs(line_search_fn="strong_wolfe", max_iter=200, history_size=10)

    @jax.jit
    def run(model: tuple[Array, Array]) -> tuple[Array, Array]:
        value, grads = jax.value_and_grad(loss)(model)
        updates, _ = optimizer.update(grads, optimizer.init(model), model, value=value, loss=loss)
        return optim.apply_updates(model, updates)

    return run((jnp.zeros((rows.shape[1], classes)), jnp.zeros((classes,))))


def _score(scores: np.ndarray, targets: np.ndarray, classes: int | None) -> float:
    if classes is not None:
        return float((scores.argmax(1) == targets).mean())
    y = _as_numbers(targets, None)
    spread = np.square(y - y.mean(0)).sum()
    return float(1 - np.square(y - scores).sum() / spread) if spread else float("nan")
