"""Arrays saved on one mesh of devices and restored onto another; no device gets more than its part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcnet as fn
from funcnet.checkpoint.trees.pieced_array import PiecedArray

WHOLE = {
    "w": np.arange(96, dtype=np.float32).reshape(8, 12),
    "half": np.arange(16).astype(jnp.bfloat16).reshape(4, 4),
    "rare": np.arange(8).astype(jnp.int4).reshape(4, 2),
    "count": np.asarray(3, np.int32),
}
LAYOUTS = {
    "rows of 4": ((4,), ("x",), ("x",)),
    "columns of 4": ((4,), ("x",), (None, "x")),
    "blocks of 2 by 2": ((2, 2), ("x", "y"), ("x", "y")),
    "rows of both": ((2, 2), ("x", "y"), (("x", "y"),)),
    "half of them": ((2,), ("x",), (None, "x")),
    "one": ((1,), ("x",), ("x",)),
    "all of it everywhere": ((4,), ("x",), ()),
}


def sharding_of(layout, kind, ndim):
    sizes, names, axes = LAYOUTS[layout]
    mesh = jax.make_mesh(sizes, names, (kind,) * len(sizes))
    return NamedSharding(mesh, PartitionSpec(*axes[:ndim]))


def tree_on(layout, kind):
    def place(array):
        axes = array.ndim if all(size % 4 == 0 for size in array.shape) else 0
        return jax.device_put(array, sharding_of(layout, kind, axes))

    key = jax.random.split(jax.random.key(1), 4)
    return {**{name: place(array) for name, array in WHOLE.items()}, "key": place(key)}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("saved_on", LAYOUTS)
def test_saved_on_one_mesh_restored_onto_another(tmp_path, saved_on, kind):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", tree_on(saved_on, kind))
    for restored_on in LAYOUTS:
        template = tree_on(restored_on, kind)
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template
        )
        for like in (template, shapes):
            tree = fn.checkpoint.load(path, like)
            for name, array in tree.items():
                assert array.sharding == template[name].sharding, (restored_on, name)
                assert array.dtype == template[name].dtype
                assert jax.typeof(array) == jax.typeof(template[name])
            for name, array in WHOLE.items():
                np.testing.assert_array_equal(np.asarray(tree[name]), array)
            np.testing.assert_array_equal(*map(jax.random.key_data, (tree["key"], template["key"])))
    bare = fn.checkpoint.load(path)
    assert all(len(array.devices()) == 1 and not array.committed for array in bare.values())


def test_only_the_parts_that_devices_need_are_copied(tmp_path, monkeypatch):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", {"w": WHOLE["w"]})
    copied = []
    part = PiecedArray.part

    def counted(self, index):
        block = part(self, index)
        copied.append(block.shape)
        return block

    monkeypatch.setattr(PiecedArray, "part", counted)
    monkeypatch.setattr(PiecedArray, "read", None)  # would be the whole array
    like = {"w": jax.device_put(WHOLE["w"], sharding_of("blocks of 2 by 2", AxisType.Auto, 2))}
    tree = fn.checkpoint.load(path, like)
    assert copied == [(4, 6)] * 4
    np.testing.assert_array_equal(tree["w"], WHOLE["w"])


def test_where_an_array_goes_without_a_sharding(tmp_path):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", {"w": jnp.ones(3)})
    other = jax.devices()[1]
    assert not fn.checkpoint.load(path, {"w": jnp.zeros(3)})["w"].committed
    assert not fn.checkpoint.load(path, jax.eval_shape(lambda: {"w": jnp.zeros(3)}))["w"].committed
    placed = fn.checkpoint.load(path, {"w": jax.device_put(jnp.zeros(3), other)})["w"]
    assert placed.committed
    assert placed.devices() == {other}


def test_damage_is_met_by_parts_too(tmp_path):
    path = fn.checkpoint.save(tmp_path / "a.safetensors", {"w": WHOLE["w"]})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    like = {"w": jax.device_put(WHOLE["w"], sharding_of("rows of 4", AxisType.Auto, 2))}
    with pytest.raises(ValueError, match="w is damaged"):
        fn.checkpoint.load(path, like)
