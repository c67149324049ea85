"""What cannot be exported is named by layer and line, and nothing else is."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import export, nn
from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.obstacles import custom_calls
from funcnet.export.flat import flatten_entry
from funcnet.export.preflight import check_exportable, flatten_open
from tests.export.cases import CASES

TARGETS = ("stablehlo", "native", "tensorflow", "litert", "iree")
SQUARE = export.spec((3, 3), jnp.float32, "x")
KEY = export.spec((2,), jnp.uint32, "key")


def symmetric(x):
    return x @ x.T + jnp.eye(3)


def banded(x):
    return lax.linalg.tridiagonal_solve(x[0], x[1], x[2], x)


LAPACK = {
    "qr": lambda x: jnp.linalg.qr(x)[0],
    "svd": lambda x: jnp.linalg.svd(x)[1],
    "eigh": lambda x: jnp.linalg.eigh(symmetric(x))[0],
    "eig": lambda x: jnp.linalg.eig(x)[0].real,
    "lu": lambda x: lax.linalg.lu(x)[0],
    "cholesky": lambda x: jnp.linalg.cholesky(symmetric(x)),
    "triangular_solve": lambda x: lax.linalg.triangular_solve(x, x, left_side=True),
    "schur": lambda x: lax.linalg.schur(x)[0],
    "hessenberg": lambda x: lax.linalg.hessenberg(x)[0],
    "tridiagonal": lambda x: lax.linalg.tridiagonal(symmetric(x))[1],
    "tridiagonal_solve": banded,
    "householder_product": lambda x: lax.linalg.householder_product(x, x[0]),
    "inv": jnp.linalg.inv,
    "solve": lambda x: jnp.linalg.solve(x, x),
    "slogdet": lambda x: jnp.linalg.slogdet(jnp.kron(x, x))[1],
    "pinv": jnp.linalg.pinv,
    "expm": jax.scipy.linalg.expm,
}
"""Each calls LAPACK: as itself, or by what jax.numpy makes of it."""


def host(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(np.sin, shape, x, vmap_method="sequential")


def printed(x):
    jax.debug.print("{}", x)
    return x


def logged(x):
    jax.debug.callback(print, x)
    return x


def ordered(x):
    from jax.experimental import io_callback

    return io_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, ordered=True)


OTHERS = {
    "pure_callback": host,
    "debug_print": printed,
    "debug_callback": logged,
    "io_callback": ordered,
    "approx_top_k": lambda x: lax.approx_max_k(x, 2)[0],
    "ffi_call": lambda x: jax.ffi.ffi_call("nobody", jax.ShapeDtypeStruct(x.shape, x.dtype))(x),
    "rng_bit_generator": lambda x: x + lax.rng_uniform(0.0, 1.0, (3,)),
}

PLACES = {
    "alone": lambda f: f,
    "jit": jax.jit,
    "remat": jax.checkpoint,
    "vmap": lambda f: lambda x: jax.vmap(f)(x[None])[0],
    "scan": lambda f: lambda x: lax.scan(lambda c, row: (c, f(c + row)), x, x)[1].sum(0),
    "while": lambda f: (
        lambda x: lax.fori_loop(0, x.astype(int)[0, 0], lambda i, c: c + f(c).sum(), x)
    ),
    "cond": lambda f: lambda x: lax.cond(x[0, 0] > 0, lambda x: f(x).sum(), lambda x: x.sum(), x),
    "custom_jvp": lambda f: with_rule(jax.custom_jvp, f),
    "custom_vjp": lambda f: with_rule(jax.custom_vjp, f),
    "scan of cond": lambda f: PLACES["scan"](PLACES["cond"](f)),
}


def with_rule(kind, function):
    made = kind(function)
    if kind is jax.custom_jvp:
        made.defjvp(lambda x, t: (function(*x), t[0]))
    else:
        made.defvjp(lambda x: (function(x), x), lambda x, t: (t,))
    return made


class Inner(nn.Module):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)  # the line


class Outer(nn.Module):
    def __init__(self, function):
        self.blocks = nn.ModuleList([nn.Identity(), Inner(function)])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def found_in(function, target="stablehlo", *specs):
    net = fn.functionalize(Outer(function))
    params, state = net.init(jax.random.key(0))
    return export.preflight(net, params, state, *(specs or (SQUARE,)), target=target)


def line_of_mark():
    with open(__file__) as file:
        return next(n for n, text in enumerate(file, 1) if text.rstrip().endswith("# the line"))


@pytest.mark.parametrize("target", ["stablehlo", "litert"])
@pytest.mark.parametrize("name", LAPACK)
def test_a_call_of_lapack_is_found(name, target):
    found = found_in(LAPACK[name], target)
    assert found
    assert all(each.layer == "blocks.1" for each in found), found
    assert all(each.line.startswith("test_findings.py:") for each in found)
    assert any("LAPACK" in each.problem and each.stops and each.instead for each in found)


@pytest.mark.parametrize("name", LAPACK)
def test_what_is_found_is_what_xla_would_call(name):
    lowered = jax.jit(LAPACK[name]).lower(jax.ShapeDtypeStruct((3, 3), jnp.float32)).as_text()
    assert custom_calls(lowered)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_bound_to_this_machine_is_found(name):
    (found,) = [each for each in found_in(OTHERS[name]) if each.stops]
    assert found.layer == "blocks.1"
    assert found.instead
    if name != "rng_bit_generator":
        assert found.operation == name


@pytest.mark.parametrize("inner", ["qr", "pure_callback"])
@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_inside_of(place, inner):
    function = (LAPACK | OTHERS)[inner]
    (found,) = [each for each in found_in(PLACES[place](function)) if each.stops]
    assert (found.operation, found.layer) == (inner, "blocks.1")


def test_a_line_is_the_users():
    (found,) = found_in(jnp.linalg.cholesky, "stablehlo", export.spec((3, 3)))
    assert found.line == f"test_findings.py:{line_of_mark()} (Inner.__call__)"


def test_of_a_switch_on_the_platform_the_branch_that_is_taken_counts():
    switch = lambda x: lax.platform_dependent(x, cpu=LAPACK["qr"], default=lambda x: x)
    other = lambda x: lax.platform_dependent(x, cpu=lambda x: x, default=LAPACK["qr"])
    assert {t: bool(found_in(switch, t)) for t in TARGETS} == dict.fromkeys(TARGETS, True) | {
        "litert": False
    }
    assert {t: bool(found_in(other, t)) for t in TARGETS} == dict.fromkeys(TARGETS, False) | {
        "litert": True
    }


# ---- random numbers ------------------------------------------------------------------------------


def dropped(x, key):
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0)


FIXED = jax.random.key(3)
CONSTANT = {
    "made inside": lambda x: dropped(x, jax.random.key(0)),
    "old kind": lambda x: dropped(x, jax.random.PRNGKey(0)),
    "closed over": lambda x: dropped(x, FIXED),
    "split": lambda x: dropped(x, jax.random.split(jax.random.key(0))[1]),
    "in a scan": lambda x: lax.scan(
        lambda k, row: (jax.random.split(k)[0], dropped(row, k)), jax.random.key(1), x
    )[1],
    "in a loop": lambda x: lax.fori_loop(0, 3, lambda i, x: dropped(x, jax.random.key(i)), x),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_numbers_of_a_constant_key_are_a_warning(name):
    found = found_in(CONSTANT[name])
    assert found
    assert all(each.severity == "warning" and "same numbers" in each.problem for each in found)


def of_an_input(params, state, x, key):
    return dropped(x, jax.random.wrap_key_data(key)), state


def of_a_hash(params, state, x, key):
    moved = jax.random.fold_in(jax.random.key(0), key[0])
    return lax.scan(lambda k, row: (jax.random.fold_in(k, 1), dropped(row, k)), moved, x)[1], state


@pytest.mark.parametrize("function", [of_an_input, of_a_hash])
def test_a_key_of_the_inputs_is_fine(function):
    assert export.preflight(function, {}, {}, SQUARE, KEY) == []


def test_keys_of_the_hardware_are_refused():
    (found,) = found_in(lambda x: dropped(x, jax.random.key(0, impl="rbg")))
    assert found.stops
    assert "threefry" in found.instead


# ---- dtypes and lengths --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "stops"),
    [("stablehlo", False), ("tensorflow", False), ("litert", True), ("onnx", True)],
)
def test_complex_numbers_are_refused_where_they_are_lacking(target, stops):
    found = found_in(lambda x: jnp.abs(jnp.fft.fft(x)), target)
    assert any(each.stops for each in found) == stops


@pytest.mark.parametrize("function", [jnp.sort, lambda x: CONSTANT["split"](x)])
def test_what_lite_lacks_is_refused_there_alone(function):
    assert any(each.stops for each in found_in(function, "litert"))
    assert not any(each.stops for each in found_in(function, "tensorflow"))


def test_inputs_of_64_bits_are_named(x64):
    net = fn.functionalize(nn.Identity())
    found = export.preflight(net, {}, {}, export.spec((2,), jnp.float64, "x"), target="litert")
    assert "input x" in found[0].problem
    assert export.preflight(net, {}, {}, export.spec((2,), jnp.float64, "x")) == []


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_of_64_bits_are_named_where_jax_has_32(dtype, target):
    net = fn.functionalize(nn.Identity())
    (found,) = export.preflight(net, {}, {}, export.spec((2,), dtype, "x"), target=target)
    assert found.stops
    assert "input x" in found.problem
    assert "32" in found.instead
    # a file of ONNX converts them
    assert export.preflight(net, {}, {}, export.spec((2,), dtype, "x"), target="onnx") == []


OPEN = {
    "compared": (lambda x: x if x.shape[0] > 4 else 2 * x, "jnp.where"),
    "len": (lambda x: x * len(x), "x.shape[0]"),
    "range": (lambda x: sum(x[i] for i in range(x.shape[0])), "lax.scan"),
    "numpy": (lambda x: x + np.zeros(x.shape, np.float32), "jnp for np"),
    "int": (lambda x: x + int(x.shape[0]), "leave int()"),
    "reshaped": (lambda x: x.reshape(-1, 8), "x.reshape(x.shape[0], -1)"),
    "rows": (lambda x: x + jnp.ones((4, 1)), "one name"),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_needs_the_number_of_an_open_length_is_named(name):
    function, instead = OPEN[name]
    call = lambda params, state, x: (function(x), state)
    spec = export.spec(("batch", 4) if name != "rows" else ("2*batch", 4))
    (found,) = export.preflight(call, {}, {}, spec)
    assert found.stops
    assert instead in found.instead
    assert found.line.startswith("test_findings.py:")
    if name not in ("rows", "reshaped"):  # which work at some numbers alone
        (of_lite,) = export.preflight(call, {}, {}, spec, target="litert")
        assert not of_lite.stops
    with pytest.raises(ExportError, match=r"test_findings\.py") as caught:
        flatten_open(export.entry(call, spec), {}, {})
    assert instead in str(caught.value)


def test_what_never_works_is_the_functions_own_error():
    call = lambda params, state, x: (x @ jnp.ones((5, 2)), state)
    with pytest.raises(TypeError, match="dot_general"):
        export.preflight(call, {}, {}, export.spec(("batch", 4)))


def test_open_lengths_are_a_warning_where_they_become_numbers():
    spec = export.spec(("batch", 3), name="x")
    found = export.preflight(fn.functionalize(nn.Identity()), {}, {}, spec, target="litert")
    assert [each.severity for each in found] == ["warning"]
    assert "batch" in found[0].problem


# ---- several devices -----------------------------------------------------------------------------


def mesh():
    return Mesh(np.array(jax.devices()[:2]), ("data",))


def test_arrays_on_several_devices_are_named():
    net = fn.functionalize(nn.Linear(4, 2))
    params, state = net.init(jax.random.key(0))
    params = jax.device_put(params, NamedSharding(mesh(), PartitionSpec()))
    found = export.preflight(net, params, state, export.spec((2, 4)))
    assert {"weight weight", "weight bias"} == {
        each.problem[4:].partition(" lies")[0] for each in found
    }


def test_layouts_and_collectives_are_named():
    spread = NamedSharding(mesh(), PartitionSpec("data"))
    constrained = found_in(
        lambda x: lax.with_sharding_constraint(x, spread), "native", export.spec((2, 3))
    )
    assert ["devices" in each.problem for each in constrained] == [True]
    summed = jax.shard_map(
        lambda x: lax.psum(x, "data"),
        mesh=mesh(),
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec(),
    )
    found = found_in(summed, "native", export.spec((2, 3)))
    assert any("other devices" in each.problem for each in found)
    assert all(each.layer == "blocks.1" for each in found)


# ---- what exporters call -------------------------------------------------------------------------


def test_everything_is_listed_in_one_error():
    def bad(params, state, x):
        jax.debug.print("{}", x)
        return jnp.linalg.qr(x)[0], state

    flat = flatten_entry(export.entry(bad, SQUARE), {}, {})
    with pytest.raises(
        ExportError, match="'encode' cannot be exported to native; nothing was written"
    ) as caught:
        check_exportable(flat, "encode", "native")
    lines = re.findall(r"^  - test_findings.py:\d+ \(.*bad\): (\w+): ", str(caught.value), re.M)
    assert lines == ["debug_print", "qr"]
    assert str(caught.value).count("instead: ") == 2


def test_warnings_are_handed_back():
    flat = flatten_entry(export.entry(lambda p, s, x: (CONSTANT["split"](x), s), SQUARE), {}, {})
    assert [each.severity for each in check_exportable(flat, "call", "stablehlo")] == ["warning"]


def test_a_target_that_is_none():
    with pytest.raises(ValueError, match=r"stablehlo, native, .* got 'coreml'"):
        found_in(jnp.sin, "coreml")


@pytest.mark.parametrize("target", TARGETS)
def test_several_functions_are_examined(target):
    entries = {
        "fine": export.entry(lambda p, s, x: (x, s), SQUARE),
        "not": export.entry(lambda p, s, x: (LAPACK["svd"](x), s), SQUARE),
    }
    (found,) = export.preflight(entries, {}, {}, target=target)
    assert found.operation == "svd"


@pytest.mark.parametrize("name", CASES)
def test_models_have_nothing_in_their_way(name, request):
    if name not in ("lstm_lm", "convolutions") and request.config.getoption("--grid") != "full":
        pytest.skip("two of the models; all with --grid=full")
    model = CASES[name].model()
    for target in ("native", "litert"):
        found = export.preflight(model.entries, model.params, model.state, target=target)
        assert not [each for each in found if each.stops]
