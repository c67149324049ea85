"""state_dict and load_state_dict: PyTorch's names, every mistake listed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.core import errors
from tests.module.models import Counter, Dense, Nest, Tied, built


def test_round_trip():
    module = Nest()
    _, params, state = built(module)
    again = fn.load_state_dict(module, fn.state_dict(module, params, state))
    for a, b in zip(jax.tree.leaves((params, state)), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_tied_parameters_have_all_their_names():
    module = Tied()
    _, params, state = built(module)
    named = fn.state_dict(module, params, state)
    assert named["decoder.weight"] is named["encoder.weight"]
    for left_out in ("decoder.weight", "encoder.weight"):
        some = {name: array for name, array in named.items() if name != left_out}
        loaded, _ = fn.load_state_dict(module, some)
        np.testing.assert_array_equal(loaded["encoder"]["weight"], params["encoder"]["weight"])
    with pytest.raises(errors.StateDictError, match="ties them"):
        fn.load_state_dict(module, {**named, "decoder.weight": jnp.ones((4, 4))})


def test_all_mistakes_are_listed_at_once():
    module = Nest()
    _, params, state = built(module)
    named = dict(fn.state_dict(module, params, state))
    del named["heads.left.bias"], named["counter.calls"]
    named |= {"surplus": jnp.ones(1), "layers.0.weight": jnp.ones((3, 5))}
    with pytest.raises(errors.StateDictError) as caught:
        fn.load_state_dict(module, named)
    message = str(caught.value)
    for part in (
        "heads.left.bias",
        "counter.calls",
        "surplus",
        "layers.0.weight",
        "(3, 5)",
        "(3, 3)",
    ):
        assert part in message


def test_not_strict():
    module = Dense(3, 2)
    _, params, state = built(module)
    loaded, _ = fn.load_state_dict(module, {"weight": np.ones((2, 3)), "x": 1}, strict=False)
    assert loaded.keys() == {"weight"}
    loaded, _ = fn.load_state_dict(
        module, {"bias": np.ones(2, np.float32)}, strict=False, default=(params, state)
    )
    np.testing.assert_array_equal(loaded["weight"], params["weight"])
    np.testing.assert_array_equal(loaded["bias"], jnp.ones(2))
    with pytest.raises(errors.StateDictError, match=r"\(9,\)"):
        fn.load_state_dict(module, {"bias": np.ones(9)}, strict=False)


def test_floats_keep_their_dtype_and_integers_take_the_declared_one(x64):
    loaded, _ = fn.load_state_dict(
        Dense(3, 2), {"weight": np.ones((2, 3)), "bias": jnp.ones(2, jnp.bfloat16)}
    )
    assert loaded["weight"].dtype == jnp.float64
    assert loaded["bias"].dtype == jnp.bfloat16
    _, state = fn.load_state_dict(Counter(), {"calls": np.int64(3)})
    assert state["calls"].dtype == jnp.int32


def test_tensors_of_torch_are_taken_and_copied():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        theirs = torch.nn.Linear(3, 2).to(dtype)
        params, _ = fn.load_state_dict(Dense(3, 2), theirs.state_dict())
        before = np.asarray(params["weight"], np.float32).copy()
        np.testing.assert_array_equal(before, theirs.weight.detach().float().numpy())
        with torch.no_grad():
            theirs.weight.zero_()
        np.testing.assert_array_equal(np.asarray(params["weight"], np.float32), before)


def test_trees_that_do_not_fit():
    with pytest.raises(errors.StateDictError, match="bias"):
        fn.state_dict(Dense(3, 2), {"weight": jnp.ones((2, 3))})
    assert fn.state_dict(Counter(), {}) == {}


def test_files_without_the_counters_of_batch_norm():
    module = fn.nn.Sequential(fn.nn.BatchNorm1d(3), fn.nn.Repeat(fn.nn.BatchNorm1d(3), 2))
    _, params, state = built(module)
    state = jax.tree.map(lambda x: x + 1, state)
    names = fn.state_dict(module, params, state)
    older = {k: v for k, v in names.items() if not k.endswith("num_batches_tracked")}
    _, loaded = fn.load_state_dict(module, older)
    assert int(loaded["0"]["num_batches_tracked"]) == 0
    assert loaded["1"]["module"]["num_batches_tracked"].tolist() == [0, 0]
    assert loaded["0"]["running_mean"].tolist() == [1, 1, 1]
    del older["0.running_mean"]
    with pytest.raises(errors.StateDictError, match=r"missing: 0\.running_mean"):
        fn.load_state_dict(module, older)


def test_what_is_no_state_dict_is_refused():
    for wrong in (None, [1.0], jnp.ones(2)):
        with pytest.raises(
            TypeError, match=f"names and arrays is loaded.*; got {type(wrong).__name__}"
        ):
            fn.load_state_dict(Dense(2, 3), wrong)
