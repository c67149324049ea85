"""Function in, function out, on any pytree: JAX's transforms, and what their users ask for."""
