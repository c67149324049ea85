"""functional_call: one call of a module with arrays by dotted names."""

from collections.abc import Mapping, Sequence
from typing import Any

from funcnet.core.aliases import Key
from funcnet.module.description import layout_of
from funcnet.module.functionalize import functionalize
from funcnet.module.module import Module
from funcnet.module.state_dict import load_state_dict

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    arrays: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    key: Key | None = None,
    train: bool = False,
    strict: bool = False,
) -> Any:
    """Call a module with arrays given by their dotted names.

    For code that comes from PyTorch; where there is ``net = fn.functionalize(module)``,
    ``net.apply`` does the same with nested dicts, and returns the new state too.

    Args:
        module: a description.
        arrays: dotted names to arrays, as ``fn.state_dict`` returns them; or several such mappings,
            such as parameters and buffers.
        args: the positional arguments, a tuple; a single one may stand alone.
        kwargs: the arguments by name.
        key: for layers that draw random numbers.
        train: the mode.
        strict: raise for names that the module does not have. A name that is missing always raises.

    Returns:
        What the module returns.

    Raises:
        StateDictError: names are missing or, with ``strict``, unexpected; a shape does not fit.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> weights = {"weight": jnp.ones((2, 3)), "bias": jnp.zeros(2)}
        >>> fn.functional_call(layer, weights, jnp.ones(3)).tolist()
        [3.0, 3.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.func.functional_call.html
    """
    parts = [arrays] if isinstance(arrays, Mapping) else arrays
    given = {name: value for part in parts for name, value in part.items()}
    if not strict:
        layout = layout_of(module)
        known = {name for aliases in layout.names.values() for names in aliases for name in names}
        given = {name: value for name, value in given.items() if name in known}
    params, state = load_state_dict(module, given)
    args = args if isinstance(args, tuple) else (args,)
    apply = functionalize(module).apply
    return apply(params, state, *args, key=key, train=train, **(kwargs or {}))[0]
