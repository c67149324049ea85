"""jit by argument name, and the limit on traces."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from funcnet import transforms as T
from funcnet.core.errors import RetraceError


def step(params, batch, depth=1):
    for _ in range(depth):
        params = jax.tree.map(lambda p: p * batch["x"].sum().astype(p.dtype), params)
    return params


def test_it_is_jax_s_own_object():
    assert type(T.jit(step)) is type(jax.jit(step))
    assert type(T.jit(step, max_traces=3)) is type(jax.jit(step))
    assert T.jit(step).__wrapped__ is step


def test_decorator_form_and_names():
    @T.jit(static="depth", donate=("params",), max_traces=2)
    def compiled(params, batch, depth=1):
        return step(params, batch, depth)

    params = {"w": jnp.ones(3)}
    out = compiled(params, {"x": jnp.ones(2)}, depth=2)
    np.testing.assert_array_equal(out["w"], [4.0, 4.0, 4.0])
    assert params["w"].is_deleted()
    assert not out["w"].is_deleted()
    with pytest.raises(ValueError, match="static='size' is not an argument"):
        T.jit(step, static="size")


FIRST = ({"w": jnp.ones(3)}, {"x": jnp.ones((8, 2))})


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda f, p, b: f(p, {"x": b["x"][:7]}), r"batch\.x: shape \[8, 2\] -> \[7, 2\]"),
        (lambda f, p, b: f(p, {"x": jnp.ones((8, 2), int)}), r"batch\.x: dtype float32 -> int32"),
        (lambda f, p, b: f(p, b, depth=3), r"depth: absent -> static 3"),
        (lambda f, p, b: f(p, {**b, "y": 1.0}), r"batch\.y: absent -> float32\[\] weak"),
        (lambda f, p, b: f({"v": p["w"]}, b), r"params\.w: float32\[3\] -> absent"),
        (lambda f, p, b: f((p,), b), r"params\.0\.w: absent -> float32\[3\]"),
    ],
)
def test_one_trace_too_many_says_why(call, line):
    compiled = T.jit(step, max_traces=1, static="depth")
    compiled(*FIRST)
    compiled(*FIRST)
    assert len(compiled.traces) == 1
    with pytest.raises(RetraceError, match="step may be traced once") as caught:
        call(compiled, *FIRST)
    assert caught.match(line)
    assert "batch.x: shape" not in str(caught.value) or "shape" in line
    compiled(*FIRST)  # the refused call left nothing behind


def test_weak_types_static_values_and_structures():
    compiled = T.jit(lambda x, n: x, max_traces=1, static="n")
    compiled(1.0, 2)
    with pytest.raises(RetraceError, match="x: weak type weak -> none"):
        compiled(jnp.float32(1.0), 2)
    with pytest.raises(RetraceError, match="n: static value 2 -> 3"):
        compiled(1.0, 3)
    listed = T.jit(lambda x: 0, max_traces=1)
    listed([1.0])
    with pytest.raises(RetraceError, match="tree structure: "):
        listed((1.0,))
    named = T.jit(lambda x, y: x * y, max_traces=1)
    named(1.0, 2.0)
    with pytest.raises(RetraceError, match="y: passed by position -> by name"):
        named(1.0, y=2.0)


def test_the_closest_earlier_trace_is_shown():
    compiled = T.jit(lambda a, b: a.sum() + b.sum(), max_traces=2)
    compiled(jnp.ones(1), jnp.ones(1))
    compiled(jnp.ones(2), jnp.ones(2))
    with pytest.raises(RetraceError, match="2 times") as caught:
        compiled(jnp.ones(2), jnp.ones(3))
    assert "b: shape [2] -> [3]" in str(caught.value)
    assert "a: " not in str(caught.value)


def test_recording_without_a_limit():
    compiled = T.jit(lambda x: x * 2, max_traces=math.inf)
    for n in (1, 2, 2, 1, 3):
        compiled(jnp.ones(n))
    assert [str(trace) for trace in compiled.traces] == [f"x: float32[{n}]" for n in (1, 2, 3)]


def test_a_failing_trace_is_not_counted():
    compiled = T.jit(lambda x: x @ x, max_traces=1)
    with pytest.raises(ValueError, match="matmul"):
        compiled(jnp.float32(1.0))
    assert compiled.traces == []
    compiled(jnp.ones(2))


def test_other_transforms_need_no_further_trace():
    compiled = T.jit(lambda x: jnp.sin(x), max_traces=1)
    x = jnp.float32(1.0)
    compiled(x)
    T.grad(compiled)(x)
    jax.vmap(compiled)(jnp.ones(3))
    with jax.disable_jit():
        compiled(x)
    assert len(compiled.traces) == 1


def test_compilation_cache_works_after_something_was_compiled(tmp_path):
    names = (
        "jax_enable_compilation_cache",
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    number = np.float32(1.0)
    program = lambda x: jnp.sin(x) * 17
    jax.jit(lambda x: program(x) + 1)(number)
    try:
        folder = T.compilation_cache(tmp_path / "programs", min_compile_seconds=0.0)
        jax.jit(lambda x: program(x))(number)
        kept = {path.name for path in folder.glob("*-cache")}
        assert len(kept) == 1
        jax.jit(lambda x: program(x))(number)  # another function with the same program
        assert {path.name for path in folder.glob("*-cache")} == kept
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
