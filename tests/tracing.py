"""A jit that counts how often it traces: JAX's own count of programs forgets those that a full cache lost."""

import functools

import jax


class CountingJit:
    """``jax.jit(function, **settings)``, with the number of its ``traces``.

    >>> double = CountingJit(lambda x: 2 * x)
    >>> double(1.0), double(2.0), double.traces
    (Array(2., dtype=float32, weak_type=True), Array(4., dtype=float32, weak_type=True), 1)
    """

    def __init__(self, function, **settings):
        self.traces = 0

        @functools.wraps(function, updated=())
        def counted(*args, **kwargs):
            self.traces += 1
            return function(*args, **kwargs)

        self._jitted = jax.jit(counted, **settings)

    def __call__(self, *args, **kwargs):
        return self._jitted(*args, **kwargs)
