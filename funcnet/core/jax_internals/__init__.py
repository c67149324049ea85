"""All that funcnet takes from JAX beyond its documented, stable names, and nothing else.

`jax.extend`, `jax.experimental`, `jax.interpreters` and the attributes of a traced function (a jaxpr) may change
in any release of JAX. So they are used in this room alone (`tests/meta/test_jax_internals.py` holds that), and each
use says why it is needed and what to do when it goes away. Importing a file of it fails at once, naming what
is missing, if a release renames an operation: operations are told apart by JAX's objects, not by their
names, which do change (``closed_call`` has been called ``eval_jaxpr`` since 0.11).
"""
