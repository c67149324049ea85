"""JAX beyond its documented ``jax.*`` names."""

from typing import Any

from jax.extend.core import get_opaque_trace_state


def trace_state() -> Any:
    """Return a token that is equal exactly within one trace of JAX."""
    return get_opaque_trace_state(convention="flax")
