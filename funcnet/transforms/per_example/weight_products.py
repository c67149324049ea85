"""The norm of one example's gradient, computed without forming those of linear layers' weights.

The loss is traced, and its trace searched for weights that are used once, in a matrix product. The
trace is then run again with a zero added to each such product: the gradient with respect to that zero,
and the activation that the weight met, are all that the norm of the weight's gradient takes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.jax_internals.programs import Operation, Program, trace, walk
from funcnet.transforms.differentiable_leaves import split

__all__ = ["squared_norms"]


def squared_norms(loss: Callable[..., Any], params: PyTree, example: Sequence[Any]) -> Array:
    """Return the squared norm of the gradient of ``loss(params, *example)``."""
    pattern, moving, constants = split(params)
    leaves, treedef = jax.tree.flatten(tuple(example))

    def flat(moving: list[Any], leaves: list[Any]) -> Any:
        return loss(pattern.join(moving, constants), *treedef.unflatten(leaves))

    program, _ = trace(flat, moving, leaves)
    arguments = [*moving, *leaves]
    found = _Search().search(program, len(moving))
    products = {product.number: product for product in found}
    formed = [index for index in range(len(moving)) if index not in {p.weight for p in found}]

    def perturbed(formed_values: list[Any], zeros: list[Array]) -> tuple[Any, list[Array]]:
        filled = list(arguments)
        for index, value in zip(formed, formed_values, strict=True):
            filled[index] = value
        run = _Run(products, dict(zip(products, zeros, strict=True)))
        (value,) = walk(program, filled, run.visit)
        return value, [run.activations[number] for number in products]

    zeros = [jnp.zeros(product.shape, product.dtype) for product in found]
    gradient = jax.grad(perturbed, (0, 1), has_aux=True)
    (of_formed, of_products), activations = gradient([moving[i] for i in formed], zeros)
    total = sum((jnp.sum(jnp.abs(g) ** 2) for g in of_formed), jnp.zeros(()))
    for product, delta, activation in zip(found, of_products, activations, strict=True):
        real = not jnp.iscomplexobj(moving[product.weight])
        total = total + product.squared_norm(activation, delta, real).astype(total.dtype)
    return total


def _opened(operation: Operation) -> Program | None:
    """Return the program that an operation calls, unless the call has a derivative of its own."""
    return None if operation.has_derivative_rule else operation.called


@dataclass(frozen=True)
class WeightProduct:
    """A product of one weight with activations: the only use of that weight.

    Attributes:
        number: its place in the order in which products are met.
        weight: which of the parameters.
        side: whether the weight is the left (0) or the right (1) operand.
        contracted: the activation's axes that are summed over.
        shape: of the product.
        dtype: of the product.
    """

    number: int
    weight: int
    side: int
    contracted: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any

    def squared_norm(self, activation: Array, delta: Array, real: bool) -> Array:
        """Return the squared norm of the weight's gradient, by the cheaper of two ways.

        Args:
            activation: the other operand.
            delta: the gradient of the product.
            real: whether the weight is. In a complex product only the real part then moves it, which the
                positions' inner products do not tell apart.
        """
        free = [axis for axis in range(activation.ndim) if axis not in self.contracted]
        inputs = math.prod(activation.shape[axis] for axis in self.contracted)
        a = activation.transpose(*free, *self.contracted).reshape(-1, inputs)
        positions = a.shape[0]
        d = delta.reshape(positions, -1) if self.side else delta.reshape(-1, positions).T
        if real and jnp.iscomplexobj(a):
            return jnp.sum(jnp.real(a.T @ d) ** 2)
        if positions * positions <= inputs * d.shape[1]:
            return jnp.real(jnp.sum((a @ a.conj().T) * (d @ d.conj().T)))
        return jnp.sum(jnp.abs(a.T @ d) ** 2)


@dataclass
class _Search:
    """Follows the parameters through a traced loss and counts where each is used."""

    met: int = 0
    uses: dict[int, int] = field(default_factory=dict)
    products: list[WeightProduct] = field(default_factory=list)

    def search(self, program: Program, parameters: int) -> list[WeightProduct]:
        """Return the products whose weight, one of the first arguments, is used nowhere else."""
        owners = [*range(parameters), *(None,) * (len(program.arguments) - parameters)]
        self._count(walk(program, owners, self._visit, constant=lambda _: None))
        return [product for product in self.products if self.uses[product.weight] == 1]

    def _visit(self, operation: Operation, owners: list[int | None]) -> list[int | None]:
        inner = _opened(operation)
        if inner is not None:
            return walk(inner, owners, self._visit, constant=lambda _: None)
        if operation.keeps_numbers:
            return owners[:1]
        if operation.product is not None:
            self._note(operation, owners)
            self.met += 1
        self._count(owners)
        return [None] * len(operation.results)

    def _count(self, owners: list[int | None]) -> None:
        for owner in owners:
            if owner is not None:
                self.uses[owner] = self.uses.get(owner, 0) + 1

    def _note(self, operation: Operation, owners: list[int | None]) -> None:
        """Note a product of one parameter with something that is none, without batch axes."""
        axes = operation.product
        assert axes is not None
        sides = [side for side in (0, 1) if owners[side] is not None]
        if len(sides) != 1 or axes.batch[0]:
            return
        (side,) = sides
        owner = owners[side]
        assert owner is not None
        (result,) = operation.results
        contracted = tuple(axes.contracted[1 - side])
        self.products.append(
            WeightProduct(self.met, owner, side, contracted, result.shape, result.dtype)
        )


@dataclass
class _Run:
    """A second run of the trace, in the same order, with a zero added to each of the products."""

    products: dict[int, WeightProduct]
    zeros: dict[int, Array]
    met: int = 0
    activations: dict[int, Array] = field(default_factory=dict)

    def visit(self, operation: Operation, operands: list[Any]) -> list[Any]:
        """Do an operation, going into those that are only calls."""
        inner = _opened(operation)
        if inner is not None:
            return walk(inner, operands, self.visit)
        outputs = operation.evaluate(operands)
        if operation.product is None:
            return outputs
        return [self._perturb(outputs[0], operands)]

    def _perturb(self, output: Array, operands: list[Any]) -> Array:
        product = self.products.get(self.met)
        self.met += 1
        if product is None:
            return output
        self.activations[product.number] = operands[1 - product.side]
        return output + self.zeros[product.number]
