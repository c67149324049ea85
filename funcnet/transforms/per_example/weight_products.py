"""The norm of one example's gradient, without the gradients of weights of linear layers.

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
from jax.extend import core

from funcnet.core.aliases import Array, PyTree
from funcnet.transforms.differentiable_leaves import split
from funcnet.transforms.jaxprs import called, evaluate

__all__ = ["squared_norms"]

# Operations after which a weight is still the same numbers.
_ALIASES = {"convert_element_type", "copy", "reduce_precision", "transpose"}
# Calls that may be opened: those with a derivative rule of their own may not.
_OPEN = {"checkpoint", "closed_call", "core_call", "jit", "pjit", "remat", "remat2"}


def squared_norms(loss: Callable[..., Any], params: PyTree, example: Sequence[Any]) -> Array:
    """Return the squared norm of the gradient of ``loss(params, *example)``."""
    pattern, moving, constants = split(params)
    leaves, treedef = jax.tree.flatten(tuple(example))

    def flat(moving: list[Any], leaves: list[Any]) -> Any:
        return loss(pattern.join(moving, constants), *treedef.unflatten(leaves))

    closed = jax.make_jaxpr(flat)(moving, leaves)
    arguments = [*moving, *leaves]
    sites = _Search(len(moving)).search(closed.jaxpr)
    products = {site.product: site for site in sites}
    formed = [index for index in range(len(moving)) if index not in {s.weight for s in sites}]

    def perturbed(formed_values: list[Any], zeros: list[Array]) -> tuple[Any, list[Array]]:
        filled = list(arguments)
        for index, value in zip(formed, formed_values, strict=True):
            filled[index] = value
        run = _Run(products, dict(zip(products, zeros, strict=True)))
        (value,) = run.run(closed.jaxpr, closed.consts, filled)
        return value, [run.activations[product] for product in products]

    zeros = [jnp.zeros(site.shape, site.dtype) for site in sites]
    gradient = jax.grad(perturbed, (0, 1), has_aux=True)
    (of_formed, of_products), activations = gradient([moving[i] for i in formed], zeros)
    total = sum((jnp.sum(jnp.abs(g) ** 2) for g in of_formed), jnp.zeros(()))
    for site, delta, activation in zip(sites, of_products, activations, strict=True):
        total = total + site.squared_norm(activation, delta).astype(total.dtype)
    return total


@dataclass(frozen=True)
class Site:
    """A product of one weight with activations: the only use of that weight."""

    product: int  # its place in the order in which products are met
    weight: int  # which of the parameters
    side: int  # whether the weight is the left (0) or the right (1) operand
    contracted: tuple[int, ...]  # the activation's axes that are summed over
    shape: tuple[int, ...]
    dtype: Any

    def squared_norm(self, activation: Array, delta: Array) -> Array:
        """Return the squared norm of the weight's gradient, by the cheaper of two ways."""
        free = [axis for axis in range(activation.ndim) if axis not in self.contracted]
        inputs = math.prod(activation.shape[axis] for axis in self.contracted)
        a = activation.transpose(*free, *self.contracted).reshape(-1, inputs)
        positions = a.shape[0]
        d = delta.reshape(positions, -1) if self.side else delta.reshape(-1, positions).T
        if positions * positions <= inputs * d.shape[1]:
            return jnp.real(jnp.sum((a @ a.conj().T) * (d @ d.conj().T)))
        return jnp.sum(jnp.abs(a.T @ d) ** 2)


@dataclass
class _Search:
    """A walk over a trace that counts how each parameter is used."""

    parameters: int
    met: int = 0
    uses: dict[int, int] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)

    def search(self, jaxpr: core.Jaxpr) -> list[Site]:
        """Return the products whose weight is used nowhere else."""
        self._walk(jaxpr, dict(zip(jaxpr.invars, range(self.parameters), strict=False)))
        return [site for site in self.sites if self.uses[site.weight] == 1]

    def _walk(self, jaxpr: core.Jaxpr, weights: dict[Any, int]) -> None:
        for equation in jaxpr.eqns:
            owners = [_look_up(weights, atom) for atom in equation.invars]
            name = equation.primitive.name
            inner = called(equation) if name in _OPEN else None
            if inner is not None:
                pairs = zip(inner[0].invars, owners, strict=True)
                self._walk(inner[0], {var: owner for var, owner in pairs if owner is not None})
                continue
            if name == "dot_general":
                self._product(equation, owners)
                self.met += 1
            if name in _ALIASES and owners[0] is not None:
                weights[equation.outvars[0]] = owners[0]
            else:
                self._count(owners)
        self._count([_look_up(weights, atom) for atom in jaxpr.outvars])

    def _count(self, owners: list[int | None]) -> None:
        for owner in owners:
            if owner is not None:
                self.uses[owner] = self.uses.get(owner, 0) + 1

    def _product(self, equation: Any, owners: list[int | None]) -> None:
        """Note a product of one parameter with something that is none, without batch axes."""
        contracted, batch = equation.params["dimension_numbers"]
        if (owners[0] is None) == (owners[1] is None) or batch[0]:
            return
        side = 0 if owners[0] is not None else 1
        aval = equation.outvars[0].aval
        owner = owners[side]
        assert owner is not None
        self.sites.append(
            Site(self.met, owner, side, tuple(contracted[1 - side]), aval.shape, aval.dtype)
        )


def _look_up(known: dict[Any, Any], atom: Any) -> Any:
    return None if isinstance(atom, core.Literal) else known.get(atom)


@dataclass
class _Run:
    """A second run of the trace, in the same order, with a zero added to each of the products."""

    products: dict[int, Site]
    zeros: dict[int, Array]
    met: int = 0
    activations: dict[int, Array] = field(default_factory=dict)

    def run(self, jaxpr: core.Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Run a jaxpr, and those that it calls."""
        values = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else values[atom]

        for equation in jaxpr.eqns:
            operands = [read(atom) for atom in equation.invars]
            inner = called(equation) if equation.primitive.name in _OPEN else None
            if inner is not None:
                outputs = self.run(*inner, operands)
            else:
                outputs = evaluate(equation, operands)
            if equation.primitive.name == "dot_general":
                outputs = [self._perturb(outputs[0], operands)]
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _perturb(self, output: Array, operands: list[Any]) -> Array:
        site = self.products.get(self.met)
        self.met += 1
        if site is None:
            return output
        self.activations[site.product] = operands[1 - site.side]
        return output + self.zeros[site.product]
