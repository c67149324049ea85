"""Derivatives as operators: gradients, Jacobians, curvature and estimates of it."""

import jax.numpy as jnp

from funcnet import transforms as T
from tests.transforms.composition.base import (
    DD,
    HALF,
    VALUE_AND_D,
    cheap_key,
    line,
    operator,
    row_dtype,
    twin,
    zeros,
)
from tests.transforms.composition.rows import (
    TWICE,
    D,
    along,
    contract,
    contract_twice,
    shifted,
    times,
)


@operator("reverse", D, "grad", first="reverse")
def grad(row, f):
    return lambda x: contract(row, T.grad(f, holomorphic=row.is_complex)(x))


@operator("reverse", VALUE_AND_D, "grad", first="reverse")
def grad_wrt_with_aux(row, f):
    split = lambda p: f(p["moving"]) * p["frozen"].astype(row_dtype(row))
    gradient = T.grad(twin(split), 0, True, row.is_complex, wrt="moving*")

    def summed(x):
        found, aux = gradient({"moving": x, "frozen": jnp.float32(1.0)})
        assert found["frozen"] is None
        return contract(row, found["moving"]) + aux["value"]

    return summed


@operator("reverse", VALUE_AND_D, "value_and_grad", first="reverse")
def value_and_grad(row, f):
    both = T.value_and_grad(lambda n, x: f(x), argnums=-1, holomorphic=row.is_complex)

    def summed(x):
        value, gradient = both(3, x)
        return value + contract(row, gradient)

    return summed


@operator("in chunks", times(HALF, times(VALUE_AND_D, TWICE)), "value_and_grad", first="reverse")
def value_and_grad_microbatches(row, f):
    def loss(x, state, batch):
        values = T.vmap(lambda by: f(shifted(row, x, by)))(batch["by"])
        return values.mean(), ({"count": state["count"] + 1}, {"weight": jnp.float32(3.0)})

    both = T.value_and_grad(
        loss,
        has_aux=True,
        holomorphic=row.is_complex,
        microbatches=2,
        threaded="state",
        weight=lambda aux: aux[1]["weight"],
    )

    def summed(x):
        state, batch = {"count": jnp.array(0)}, {"by": jnp.arange(2.0), "n": jnp.arange(2)}
        (value, (_, _)), gradient = both(x, state, batch)
        return value + contract(row, gradient)

    return summed


@operator("forward", D, "jvp", first="forward")
def jvp(row, f):
    return lambda x: T.jvp(f, (x,), (along(row, x),))[1]


@operator("reverse", D, "vjp", first="reverse")
def vjp(row, f):
    def pulled(x):
        value, pullback, _ = T.vjp(twin(f), x, has_aux=True)
        return contract(row, pullback(jnp.ones_like(value))[0])

    return pulled


@operator("forward", D, "linearize", first="forward")
def linearize(row, f):
    return lambda x: T.linearize(twin(f), x, has_aux=True)[1](along(row, x))


@operator("forward", D, "jacfwd", first="forward")
def jacfwd(row, f):
    return lambda x: contract(row, T.jacfwd(f, holomorphic=row.is_complex)(x))


@operator("reverse", D, "jacrev", first="reverse")
def jacrev(row, f):
    return lambda x: contract(row, T.jacrev(f, holomorphic=row.is_complex)(x))


def _in_chunks(jacobian, row, f):
    pair = lambda x, n: twin(lambda x: {"y": f(x), "n": n})(x)
    chunked = jacobian(pair, (0, 1), True, row.is_complex, chunk_size=1)

    def contracted(x):
        found, aux = chunked(x, jnp.array(2))
        return contract(row, found["y"][0]) + aux["value"]["y"]

    return contracted


@operator("in chunks", VALUE_AND_D, "jacfwd", first="forward")
def jacfwd_in_chunks(row, f):
    return _in_chunks(T.jacfwd, row, f)


@operator("in chunks", VALUE_AND_D, "jacrev", first="reverse")
def jacrev_in_chunks(row, f):
    return _in_chunks(T.jacrev, row, f)


# ---- second derivatives


@operator("second", DD, "hessian", first="reverse")
def hessian(row, f):
    matrix = T.hessian(f, holomorphic=row.is_complex)
    return lambda x: contract_twice(row, x, matrix(x))


@operator("in chunks", DD, "hessian", first="reverse")
def hessian_in_chunks(row, f):
    matrix = T.hessian(twin(f), 0, True, row.is_complex, chunk_size=1)
    return lambda x: contract_twice(row, x, matrix(x)[0])


@operator("second", DD, "hvp", real_only=True, first="reverse")
def hvp(row, f):
    return lambda x: contract(row, T.hvp(twin(f), (x,), (along(row, x),), True)[1][0])


@operator("second", DD, "vhp", real_only=True, first="reverse")
def vhp(row, f):
    return lambda x: contract(row, T.vhp(f, (x,), (along(row, x),))[1][0])


@operator("second", DD, "gauss_newton_vp", real_only=True, first="reverse")
def gauss_newton_vp(row, f):
    return lambda x: contract(row, T.gauss_newton_vp(lambda x: x, f, (x,), (along(row, x),))[1][0])


def _along_a_unit(product, row, f):
    """Use a product with ``J^T J`` whose first factor, by a parameter of its own, is one."""

    def sloped(x):
        model = lambda x, shift: (f(x) + shift)[None]
        tangents = (zeros(x), jnp.float32(1.0))
        return contract(row, product(model, (x, jnp.float32(0.0)), tangents)[1][0])

    return sloped


@operator("forward", D, "fisher_vp", real_only=True, first="forward")
def fisher_vp(row, f):
    return _along_a_unit(lambda *args: T.fisher_vp(*args, likelihood="normal"), row, f)


@operator("forward", D, "empirical_fisher_vp", real_only=True, first="forward")
def empirical_fisher_vp(row, f):
    return _along_a_unit(T.empirical_fisher_vp, row, f)


@operator("in chunks", D, "ntk", real_only=True, first="forward")
def ntk(row, f):
    def between(x):
        phi = line(row, f, x)
        fun = lambda p, by: (1 - by) * p["by"] + by * phi(p["by"])
        params = {"by": jnp.float32(0.0), "n": jnp.array(2)}
        return T.ntk(fun, params, jnp.array([0.0]), jnp.array([1.0]))[0, 0, 0, 0]

    return between


@operator("second", DD, "laplacian", real_only=True, first="forward")
def laplacian(row, f):
    def summed(x):
        phi = line(row, f, x)
        start = {"by": jnp.float32(0.0), "n": jnp.array(2), "empty": jnp.zeros((0,))}
        return T.laplacian(lambda p: {"y": phi(p["by"])}, chunk_size=1)(start)["y"]

    return summed


def _estimated(estimate):
    """Give an estimate of a matrix's properties the second derivative along the line."""

    def build(row, f):
        def estimated(x):
            phi = line(row, f, x)
            fun = lambda p: phi(p["by"])
            like = {"by": jnp.float32(0.0), "n": jnp.array(2)}
            return estimate(lambda v: T.hvp(fun, (like,), (v,))[1][0], like, cheap_key())

        return estimated

    return build


@operator("estimate", DD, "hutchinson_diagonal", real_only=True, first="reverse")
def hutchinson_diagonal(row, f):
    return _estimated(lambda *args: T.hutchinson_diagonal(*args, samples=1)["by"])(row, f)


@operator("estimate", DD, "hutchinson_trace", real_only=True, first="reverse")
def hutchinson_trace(row, f):
    return _estimated(lambda *args: T.hutchinson_trace(*args, samples=1))(row, f)


@operator("estimate", DD, "lanczos", real_only=True, first="reverse")
def lanczos(row, f):
    return _estimated(lambda *args: T.lanczos(*args, steps=1).eigenvalues[0])(row, f)


@operator("estimate", DD, "top_eigenvalues", real_only=True, first="reverse")
def top_eigenvalues(row, f):
    return _estimated(lambda *args: T.top_eigenvalues(*args)[0][0])(row, f)


@operator("estimate", DD, "spectral_density", real_only=True, first="reverse")
def spectral_density(row, f):
    def eigenvalue(*args):
        # the logarithm of a Gaussian at -1 and at 1 differs by twice its centre over the variance
        points, width = jnp.array([-1.0, 1.0]), 4.0
        density = T.spectral_density(*args, points, width=width, steps=1, samples=1)
        return (jnp.log(density[1]) - jnp.log(density[0])) * width**2 / 2

    return _estimated(eigenvalue)(row, f)
