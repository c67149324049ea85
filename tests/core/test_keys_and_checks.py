"""Keys folded from names; checks that say what was expected, what came, what to write."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.core import checks, errors, keys


def test_names_hash_alike_everywhere():
    # fixed for good: initial values depend on it from release to release
    assert keys.name_hash("layers.0.weight") == (3972186892, 1041644883)


@pytest.mark.parametrize(
    "make", [jax.random.key, jax.random.PRNGKey, lambda s: jax.random.key(s, impl="rbg")]
)
def test_folding_depends_on_the_name_and_the_key(make):
    data = lambda key: tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())
    folded = {
        data(keys.fold_path(make(seed), name)) for seed in (0, 1) for name in ("a", "b", "a.b")
    }
    assert len(folded) == 6
    assert keys.is_key(make(0))


def test_what_is_a_key():
    assert not keys.is_key(3)
    assert not keys.is_key(jnp.ones(2))
    assert not keys.is_key(None)
    assert not keys.is_key(jax.random.split(jax.random.PRNGKey(0), 3))
    with pytest.raises(errors.MissingKeyError, match="dropout draws random numbers"):
        keys.require_key("dropout", None)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: checks.check_choice("reduction", "avg", ("mean", "sum")),
            "one of 'mean', 'sum'; got 'avg'",
        ),
        (lambda: checks.check_positive("stride", (1, 0)), r"greater than zero; got \(1, 0\)"),
        (lambda: checks.check_non_negative("padding", -1), "not be negative; got -1"),
        (lambda: checks.check_probability("p", 1.5), r"probability .* got 1\.5"),
        (
            lambda: checks.check_divisible("embed_dim", 10, "num_heads", 3),
            "divisible by num_heads; got 10 and 3",
        ),
        (
            lambda: checks.check_ndim("input", 2, (3, 4), "(C, H, W)"),
            r"shape \(C, H, W\); got an array of 2 axes",
        ),
        (
            lambda: checks.per_axis("stride", (1, 2, 3), 2),
            r"one number or 2 of them; got \(1, 2, 3\)",
        ),
    ],
)
def test_messages(check, message):
    with pytest.raises(ValueError, match=message):
        check()


def test_errors_are_also_the_built_ins_that_users_catch():
    for error, builtin in (
        (errors.UnboundModuleError, RuntimeError),
        (errors.MissingKeyError, ValueError),
        (errors.BoundAssignmentError, AttributeError),
        (errors.StateDictError, KeyError),
        (errors.ShapeMismatchError, ValueError),
        (errors.ModuleDefinitionError, TypeError),
    ):
        assert issubclass(error, builtin)
        assert error.__doc__
    assert str(errors.ParameterTreeError("two\nlines")) == "two\nlines"
