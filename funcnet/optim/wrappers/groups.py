"""Parameter groups: who gets which optimizer, by dotted path."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.core.paths import leaves_with_paths, matches, select
from funcnet.optim.hyperparameters import Hyperparameters, hyperparams
from funcnet.optim.leaf_rule import is_gradient, leaf_names, map_moved, on_values
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    stateless,
    with_extra,
)

__all__ = ["Groups", "frozen", "groups"]


def frozen() -> GradientTransformation:
    """Leave parameters as they are, bit for bit; for use as a member of `groups`.

    The updates are negative zeros, the one number that changes nothing it is added to.

    Example:
        >>> optim.frozen().update(jnp.ones(2), ())[0].tolist()
        [-0.0, -0.0]
    """
    return _FROZEN


_FROZEN = stateless(
    lambda grads, params: map_moved(on_values(lambda g: jnp.full_like(g, -0.0)), grads)
)


class Groups(ShapedTransformation):
    """An optimizer made by `groups`, `mask` or `freeze`; it can say who gets what.

    Attributes:
        members: what each pattern's parameters get.

    Example:
        >>> optimizer = optim.groups({"*.bias": optim.sgd(0.1), "*": optim.adam(1e-3)})
        >>> isinstance(optimizer, optim.Groups)
        True
        >>> print(optimizer.describe({"layer": {"weight": jnp.ones((2, 3)), "bias": jnp.ones(2)}}))
        *.bias: lr=0.1, 1 array, 2 numbers
          layer.bias (2,)
        *: lr=0.001, betas=(0.9, 0.999), eps=1e-08, 1 array, 6 numbers
          layer.weight (2, 3)
    """

    members: Mapping[str, GradientTransformation]

    def describe(self, params: PyTree) -> str:
        """Tell each parameter's group, and each group's hyperparameters and size.

        Args:
            params: the parameters, or their shapes.

        Returns:
            A text of one line a group and one line a parameter.

        Raises:
            ValueError: a pattern matches nothing, or a parameter is matched by no pattern.

        Example:
            >>> params = {"fc": {"weight": jnp.ones((2, 3)), "bias": jnp.ones(2)}}
            >>> print(optim.groups({"*.bias": None, "*": optim.sgd(0.5)}).describe(params))
            *.bias: frozen, 1 array, 2 numbers
              fc.bias (2,)
            *: lr=0.5, 1 array, 6 numbers
              fc.weight (2, 3)
        """
        pairs = leaves_with_paths(params)
        owners = assign(list(self.members), [path for path, _ in pairs])
        lines = []
        for pattern, member in self.members.items():
            mine = [
                (path, np.shape(leaf))
                for (path, leaf), owner in zip(pairs, owners, strict=True)
                if owner == pattern
            ]
            size = sum(int(np.prod(shape)) for _, shape in mine)
            arrays = f"{len(mine)} array{'s' * (len(mine) != 1)}"
            lines.append(f"{pattern}: {_settings_of(member)}, {arrays}, {size} numbers")
            lines += [f"  {path} {shape}" for path, shape in mine]
        return "\n".join(lines)


def _settings_of(member: GradientTransformation) -> str:
    if member.update is frozen().update:
        return "frozen"
    state = member.init({})
    numbers = hyperparams(state)
    followed = {
        name
        for node in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Hyperparameters))
        if isinstance(node, Hyperparameters)
        for name in node.scheduled
    }

    def show(value: Any) -> str:
        if isinstance(value, tuple):
            return f"({', '.join(map(show, value))})"
        return f"{float(value):.6g}"

    shown = [
        f"{name} by schedule" if name in followed else f"{name}={show(value)}"
        for name, value in numbers.items()
    ]
    return ", ".join(shown) or "no hyperparameters"


def assign(patterns: list[str], paths: list[str]) -> list[str]:
    """Give each path the first pattern that matches it.

    Raises:
        ValueError: a pattern matches no path, or a path no pattern.
    """
    if paths:
        select(patterns, paths)
    owners = [next((one for one in patterns if matches(one, path)), None) for path in paths]
    orphans = [path for path, owner in zip(paths, owners, strict=True) if owner is None]
    if orphans:
        raise ValueError(
            f"no pattern matches {', '.join(orphans[:12])}{', …' if len(orphans) > 12 else ''}; "
            f'the patterns are {", ".join(map(repr, patterns))}; end with "*" to match the rest'
        )
    return [owner for owner in owners if owner is not None]


def groups(
    members: Mapping[str, Any],
    optimizer: Callable[..., GradientTransformation] | None = None,
    **settings: Any,
) -> Groups:
    """Give each parameter the optimizer of the first pattern that matches its dotted path.

    Args:
        members: patterns to what they get: a transformation (Optax's too); ``None`` to freeze; or,
            with ``optimizer``, a dict of settings that differ from the common ones, among which
            ``lr_scale`` multiplies the learning rate.
        optimizer: the factory that dicts of settings are given to.
        settings: what its groups have in common.

    Returns:
        One transformation. Its state is a dict by pattern, each member's state by dotted path;
        its method ``describe(params)`` tells who gets what.

    Raises:
        ValueError: ``"*"`` is not the last pattern; or when used, a pattern matches no parameter or a parameter no
            pattern.
        TypeError: a member is none of the above.

    Example:
        >>> optimizer = optim.groups(
        ...     {"encoder.*": None, "*.bias": {"weight_decay": 0.0}, "head.*": {"lr_scale": 10.0}},
        ...     optim.adamw, lr=1e-3,
        ... )
        >>> params = {"encoder": {"w": jnp.ones(2)}, "head": {"w": jnp.ones(2), "bias": jnp.ones(2)}}
        >>> state = optimizer.init(params)
        >>> round(float(optim.hyperparams(state)["head.*.lr"]), 4)
        0.01
    """
    if not isinstance(members, Mapping):
        raise TypeError(
            "groups takes patterns of paths and what they get, a dict: "
            "groups({'*.bias': {'weight_decay': 0.0}, '*': {}}, optim.adamw, lr=1e-3); "
            f"got {type(members).__name__}"
        )
    made: dict[str, GradientTransformation] = {}
    behind = [*members][[*members].index("*") + 1 :] if "*" in members else []
    if behind:
        raise ValueError(
            f'"*" matches every parameter, and the first pattern that matches counts: put it last, behind '
            f"{', '.join(map(repr, behind))}"
        )
    for pattern, member in members.items():
        if member is None:
            made[pattern] = frozen()
        elif isinstance(member, Mapping):
            made[pattern] = _from_settings(pattern, optimizer, {**settings, **member})
        elif hasattr(member, "init") and hasattr(member, "update"):
            made[pattern] = member
        else:
            raise TypeError(
                f"groups[{pattern!r}] must be a transformation, None to freeze, or a dict of "
                f"settings; got {member!r}"
            )
    return _partition(made)


def _from_settings(
    pattern: str, optimizer: Callable[..., GradientTransformation] | None, settings: dict[str, Any]
) -> GradientTransformation:
    if optimizer is None:
        raise TypeError(
            f"groups[{pattern!r}] is a dict of settings: name the optimizer that takes them, as in "
            "groups({...}, optim.adamw, lr=1e-3)"
        )
    scale = settings.pop("lr_scale", None)
    if scale is not None:
        if "lr" not in settings:
            raise TypeError(f"groups[{pattern!r}] scales lr; give lr to groups as well")
        lr = settings["lr"]
        settings["lr"] = (lambda step: scale * lr(step)) if callable(lr) else scale * lr
    return optimizer(**settings)


def by_pattern(
    inside: GradientTransformation, patterns: str | Iterable[str], outside: GradientTransformation
) -> Groups:
    """Give the leaves whose path matches one transformation, and all others another."""
    names = [patterns] if isinstance(patterns, str) else list(patterns)
    members = dict.fromkeys(names, inside)
    members.setdefault("*", outside)  # unless all leaves were asked for
    return _partition(members)


def _partition(members: Mapping[str, GradientTransformation]) -> Groups:
    updates_ = {pattern: with_extra(member.update) for pattern, member in members.items()}
    patterns = list(members)

    def owners_of(tree: PyTree) -> tuple[list[str], list[str]]:
        pairs = leaves_with_paths(tree, is_leaf=is_gradient)
        return leaf_names(tree), assign(patterns, [path for path, _ in pairs])

    def part(tree: PyTree, treedef: Any, names: list[str], owners: list[str], one: str) -> Any:
        leaves = treedef.flatten_up_to(tree)
        rows = zip(names, owners, leaves, strict=True)
        return {name: leaf for name, owner, leaf in rows if owner == one}

    def init(params: PyTree) -> dict[str, PyTree]:
        names, owners = owners_of(params)
        if not names:
            # A tree without leaves may stand for one that has some (`optax.tree.map_params` asks so).
            return {pattern: member.init(params) for pattern, member in members.items()}
        treedef = jax.tree.structure(params, is_leaf=is_gradient)
        return {
            pattern: member.init(part(params, treedef, names, owners, pattern))
            for pattern, member in members.items()
        }

    def update(
        grads: PyTree, state: dict[str, PyTree], params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, dict[str, PyTree]]:
        if not isinstance(state, Mapping) or set(state) != set(patterns):
            theirs = list(state) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(
                f"groups of {sorted(patterns)} got a state of {theirs}: take the state that this "
                "optimizer's init returns"
            )
        names, owners = owners_of(grads)
        treedef = jax.tree.structure(grads, is_leaf=is_gradient)
        trees = {
            name
            for name, value in extra.items()
            if jax.tree.structure(value, is_leaf=is_gradient) == treedef
        }
        found, states = {}, {}
        for pattern, one in updates_.items():

            def mine(tree: PyTree, pattern: str = pattern) -> Any:
                return part(tree, treedef, names, owners, pattern)

            given = {name: mine(v) if name in trees else v for name, v in extra.items()}
            own_params = None if params is None else mine(params)
            new, states[pattern] = one(mine(grads), state[pattern], own_params, **given)
            found.update(new)
        return treedef.unflatten([found[name] for name in names]), states

    made = Groups(init, update)
    made.members = dict(members)
    return made
