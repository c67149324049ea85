"""Loading into a template: what fits, what does not, and what is cast."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.core.errors import TreeMismatchError
from tests.checkpoint.same import assert_same

SAVED = {
    "w": jnp.arange(6.0).reshape(2, 3),
    "half": jnp.ones(4, jnp.bfloat16),
    "count": jnp.asarray(3, jnp.int32),
    "host": np.arange(4),
    "step": 7,
    "lr": 0.5,
    "name": "run",
    "key": jax.random.key(0),
    "gone": jnp.ones(2),
}


@pytest.fixture
def path(tmp_path):
    return fn.checkpoint.save(tmp_path / "a.safetensors", SAVED)


def test_every_difference_is_listed(path):
    like = {
        "w": jnp.zeros((3, 3)),
        "half": jnp.zeros(4),
        "count": jnp.zeros((), jnp.float32),
        "host": np.arange(4),
        "step": "seven",
        "lr": 1,
        "name": None,
        "key": jax.random.key(0, impl="rbg"),
        "new": {"a.b": jnp.ones(1)},
    }
    with pytest.raises(TreeMismatchError) as caught:
        fn.checkpoint.load(path, like)
    assert str(caught.value).splitlines() == [
        f"{path} does not fit the template",
        r"  missing: new.a\.b",
        "  unexpected: gone",
        "  w is float32 (3, 3) in the template, float32 (2, 3) in the file",
        '  half is float32 (4,) in the template, bfloat16 (4,) in the file: dtype="like" casts it',
        "  count is float32 () in the template, int32 () in the file",
        "  step is str 'seven' in the template, int 7 in the file",
        "  lr is int 1 in the template, float 0.5 in the file",
        "  name is None in the template, str 'run' in the file",
        "  key is key<rbg> () in the template, key<fry> () in the file",
    ]
    with pytest.warns(
        UserWarning, match="does not fit the template\n.*missing.*\n(.*\n)*What fits was loaded"
    ):
        tree = fn.checkpoint.load(path, like, strict=False)
    assert_same(tree, {**like, "host": SAVED["host"]})


def test_what_fits_raises_and_warns_nothing(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(fn.checkpoint.load(path, SAVED, strict=False), SAVED)


def test_leaves_take_the_kind_of_the_template(path):
    like = {
        **SAVED,
        "w": np.zeros((2, 3), np.float32),
        "count": 0,
        "host": jnp.zeros(4, int),
        "step": np.int64(0),
        "lr": jnp.zeros(()),
        "half": jax.ShapeDtypeStruct((4,), jnp.bfloat16),
        "key": jax.eval_shape(lambda: jax.random.key(1)),
    }
    with pytest.raises(TreeMismatchError, match=r"host is int32 \(4,\) in the template, int64"):
        fn.checkpoint.load(path, like)
    tree = fn.checkpoint.load(path, like, dtype="like")
    assert_same(
        tree,
        {
            **SAVED,
            "w": np.asarray(SAVED["w"]),
            "count": 3,
            "host": jnp.arange(4),
            "step": np.int64(7),
            "lr": jnp.asarray(np.float32(0.5)),
        },
    )


CASTS = [
    (np.float32, np.float64, True),
    (jnp.bfloat16, np.float32, True),
    (np.float32, np.float16, True),
    (np.int64, np.int8, True),
    (np.uint8, np.int32, True),
    (np.bool_, np.int32, False),
    (np.int32, np.float32, False),
    (np.float32, np.complex64, False),
    (np.complex128, np.complex64, True),
]


@pytest.mark.parametrize(("saved", "like", "allowed"), CASTS)
def test_casts_stay_within_a_kind(tmp_path, saved, like, allowed):
    numbers = np.array([0, 1, 3]).astype(saved)
    path = fn.checkpoint.save(tmp_path / "a.safetensors", [numbers])
    template = [np.zeros(3, like)]
    with pytest.raises(TreeMismatchError):
        fn.checkpoint.load(path, template)
    if not allowed:
        with pytest.raises(TreeMismatchError):
            fn.checkpoint.load(path, template, dtype="like")
        return
    assert_same(fn.checkpoint.load(path, template, dtype="like"), [numbers.astype(like)])


def test_integers_that_do_not_fit_are_refused(tmp_path):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", {"n": np.array([1, 300])})
    with pytest.raises(ValueError, match="n holds integers that int8 does not"):
        fn.checkpoint.load(path, {"n": np.zeros(2, np.int8)}, dtype="like")
    path = fn.checkpoint.save(path, {"n": 300})
    with pytest.raises(TreeMismatchError, match="int 300 in the file"):
        fn.checkpoint.load(path, {"n": np.int8(0)})


def test_one_dtype_for_all_floats(path):
    tree = fn.checkpoint.load(path, dtype=jnp.bfloat16)
    kinds = {name: str(x.dtype) for name, x in tree.items() if hasattr(x, "dtype")}
    assert kinds == {
        "w": "bfloat16",
        "half": "bfloat16",
        "gone": "bfloat16",
        "count": "int32",
        "host": "int64",
        "key": "key<fry>",
    }
    back = fn.checkpoint.load(path, SAVED, dtype=jnp.float16)
    assert back["w"].dtype == jnp.float16
    assert back["host"].dtype == np.int64
    with pytest.raises(ValueError, match="pass it, like=tree"):
        fn.checkpoint.load(path, dtype="like")


def test_a_template_of_another_container_fits_by_names(path):
    from collections import OrderedDict

    like = OrderedDict(reversed(SAVED.items()))
    tree = fn.checkpoint.load(path, like)
    assert type(tree) is OrderedDict
    assert [*tree] == [*reversed(SAVED)]
    assert_same(tree["w"], SAVED["w"])


def test_what_a_template_may_not_hold_is_named(path):
    with pytest.raises(TypeError, match=r"w of the template is a builtins\.function"):
        fn.checkpoint.load(path, {**SAVED, "w": lambda: 1})


def test_a_template_may_be_donated_already(path):
    like = {**SAVED, "w": jnp.zeros((2, 3)), "key": jax.random.key(1)}
    like["w"].delete()
    assert_same(fn.checkpoint.load(path, like), SAVED)


def test_files_without_a_tree(tmp_path):
    path = fn.checkpoint.save_arrays(tmp_path / "a.safetensors", {"w": np.ones(1)})
    with pytest.raises(ValueError, match="load_arrays"):
        fn.checkpoint.load(path)
    with pytest.raises(FileNotFoundError):
        fn.checkpoint.load(tmp_path / "none.safetensors")
