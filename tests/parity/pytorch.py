"""PyTorch's side of a row: what it computes, as NumPy arrays."""

from typing import Any, NamedTuple

import numpy as np

from tests.parity.inputs import arrays, flat, is_array, is_float, outputs_of, seed_of, weights
from tests.parity.table import Layer, Row


class Step(NamedTuple):
    """What one call leaves: the gradients are of float inputs, in order, and of parameters, by name."""

    outputs: list[np.ndarray]
    gradients: tuple[list[np.ndarray], dict[str, np.ndarray]] | None
    state: dict[str, np.ndarray]


def record(row: Row, train: bool, steps: int) -> tuple[dict[str, np.ndarray], list[Step]]:
    """Return the module's initial state dict, and what each step gives."""
    import torch

    torch.manual_seed(seed_of(row))
    module, function = _built(row, train)
    initial = _state(module)
    taken = []
    for step in range(steps):
        inputs, call = _tensors(arrays(row, step))
        run = row.theirs(function) if row.theirs else function
        outputs = outputs_of(run(*inputs, **call))
        gradients = _gradients(module, outputs, (inputs, call)) if row.gradients else None
        taken.append(Step([o.detach().numpy() for o in outputs], gradients, _state(module)))
    return initial, taken


def _built(row: Row, train: bool) -> tuple[Any, Any]:
    """The module, if it is one, and what to call."""
    import torch

    if not isinstance(row, Layer):
        plain = getattr(torch.nn.functional, row.name)
        return None, lambda *inputs, **call: plain(*inputs, *row.args, **row.kwargs, **call)
    made = (
        row.build(torch.nn) if row.build else getattr(torch.nn, row.name)(*row.args, **row.kwargs)
    )
    module = made.double().train(train)
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)  # zeros and ones would hide a mean or a variance left out
    return module, module


def _state(module: Any) -> dict[str, np.ndarray]:
    held = module.state_dict() if module else {}
    return {name: value.detach().clone().numpy() for name, value in held.items()}


def _tensors(value: Any) -> Any:
    import torch

    if isinstance(value, dict):
        return {name: _tensors(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_tensors(part) for part in value)
    if not is_array(value):
        return value
    return torch.from_numpy(value.copy()).requires_grad_(is_float(value))


def _gradients(
    module: Any, outputs: list[Any], given: Any
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Of the sum of all float outputs, weighted; zeros where PyTorch has none."""
    import torch

    leaves = [t for t in flat(given) if isinstance(t, torch.Tensor) and t.requires_grad]
    parameters = dict(module.named_parameters()) if module else {}
    wanted = [*leaves, *parameters.values()]
    total = sum(
        (o * torch.from_numpy(weights(tuple(o.shape)))).sum()
        for o in outputs
        if o.is_floating_point()
    )
    found = [None] * len(wanted)
    if wanted and getattr(total, "requires_grad", False):
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    known = [
        np.zeros(w.shape) if g is None else g.numpy() for w, g in zip(wanted, found, strict=True)
    ]
    return known[: len(leaves)], dict(zip(parameters, known[len(leaves) :], strict=True))
