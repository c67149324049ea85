"""Functions of open lengths: those that need the number of one, and are told so."""

from funcnet.core.aliases import Params, State
from funcnet.core.errors import ExportError
from funcnet.export.flat import FlatFunction, flatten_entry
from funcnet.export.preflight.finding import Finding, below_each_other
from funcnet.export.preflight.sites import line_of_error
from funcnet.export.programs.building import is_traceable
from funcnet.export.specs import Entry

__all__ = ["flatten_open", "needs_a_number"]

_FIX = "or fix that length in export.spec"
_INSTEAD = {
    "interpreted as an integer": f"write x.shape[0] for len(x), jnp for np, jax.vmap or lax.scan for a loop, {_FIX}",
    "requires a constant": f"leave int() and float() out: x.shape[0] counts as a number in jax.numpy, {_FIX}",
    "divide evenly": f"name the open length and let -1 be what is known: x.reshape(x.shape[0], -1), {_FIX}",
    "incompatible shapes": f"lengths that agree get one name: spec(('batch', 3)) for each, {_FIX}",
    "inconclusive": f"decide by jnp.where or lax.cond on values, {_FIX}",
}
"""What to write, by words of JAX's messages; where none fits, the last."""


def needs_a_number(error: Exception, entry: Entry, params: Params, state: State) -> Finding | None:
    """Say what of a function needs the number of an open length, if that is what its error is about.

    Args:
        error: that tracing with open lengths raised.
        entry: the function.
        params: as for `preflight`.
        state: likewise.

    Returns:
        None if the function cannot be traced with numbers either.
    """
    if isinstance(error, ExportError) or not is_traceable(entry, params, state):
        return None
    first = str(error).strip().splitlines()[0]
    fitting = (text for words, text in _INSTEAD.items() if words in first)
    instead = next(fitting, _INSTEAD["inconclusive"])
    return Finding(
        "error", f"needs the number of an open length: {first}", instead, line=line_of_error(error)
    )


def flatten_open(entry: Entry, params: Params, state: State) -> FlatFunction:
    """Do what `flatten_entry` does, and name the line that needs the number of an open length.

    Raises:
        ExportError: there is one.
    """
    try:
        return flatten_entry(entry, params, state)
    except Exception as error:
        found = needs_a_number(error, entry, params, state)
        if found is None:
            raise
        raise ExportError(
            f"the function cannot be traced with lengths left open:\n{below_each_other([found])}"
        ) from error
