"""Summaries: the tree, the shapes, the counts, in text and HTML, at no cost."""

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from tests.module.models import Counter, Dense, Nest, Noise, Tied


def test_rows_follow_the_tree_and_add_up():
    summary = fn.summary(Nest(), (5, 3))
    assert [(row.path, row.kind, row.parameters, row.buffers) for row in summary.rows] == [
        ("", "Nest", 0, 0),
        ("layers.0", "Dense", 12, 0),
        ("layers.1.0", "Dense", 12, 0),
        ("layers.1.1", "Noise", 0, 0),
        ("heads.left", "Dense", 8, 0),
        ("heads.right", "Dense", 8, 0),
        ("counter", "Counter", 0, 1),
    ]
    assert (summary.parameters, summary.buffers, summary.bytes) == (40, 1, 164)
    assert summary.rows[1].output == "float32[5, 3]"
    assert summary.rows[0].output == "(float32[5, 2], float32[5, 2])"


def test_tied_parameters_count_once():
    assert fn.summary(Tied(), (4,)).parameters == 24


def test_nothing_is_computed_or_allocated():
    huge = Dense(1 << 20, 1 << 20)
    summary = fn.summary(huge, (1 << 20,))
    assert "1,099,512,676,352 parameters, 4.0 TiB" in str(summary)


def test_inputs_may_be_arrays_abstract_or_keywords():
    class Two(fn.Module):
        def __init__(self):
            self.dense = Dense(3, 2)

        def __call__(self, x, scale, flag=False):
            return self.dense(x) * scale if flag else None

    summary = fn.summary(Two(), jnp.ones((4, 3)), jax.ShapeDtypeStruct((), jnp.float32), flag=True)
    assert summary.rows[0].output == "float32[4, 2]"
    assert fn.summary(Two(), (4, 3), scale=2.0).rows[0].output == ""


def test_training_mode_needs_no_key():
    assert fn.summary(Noise(), (3,), train=True).rows[0].output == "float32[3]"


def test_the_mistake_of_a_wrong_input_names_the_layer():
    with pytest.raises(TypeError) as caught:
        fn.summary(Nest(), (5, 4))
    assert any("layers.0" in note for note in caught.value.__notes__)


def test_html_escapes_and_totals():
    class Odd(fn.Module):
        def __init__(self):
            self.parts = {"<b>": Counter()}

        def __call__(self, x):
            return self.parts["<b>"](x)

    page = fn.summary(Odd(), (2,))._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<table>" in page
    assert "0 parameters + 1 in buffers, 4 B" in page


def test_a_model_on_a_mesh_tells_what_a_device_holds():
    mesh = fn.parallel.mesh(data=2, model=2)
    net = fn.functionalize(Nest())
    rules = {"heads.left.weight": ("model", None), "heads.right.bias": ("model",)}
    summary = fn.summary(fn.parallel.shard(net, mesh, rules), (5, 3))
    found = {row.path: (row.bytes, row.device_bytes, row.parts) for row in summary.rows}
    assert found["heads.left"] == (32, 20, "weight (1, 3)")
    assert found["heads.right"] == (32, 28, "bias (1,)")
    assert found["layers.0"] == (48, 48, "")
    assert (summary.bytes, summary.device_bytes) == (164, 148)
    assert "on a device" in str(summary).splitlines()[0]
    assert str(summary).splitlines()[-2].endswith("164 B, 148 B on a device")
    assert "<td>weight (1, 3)</td>" in summary._repr_html_()
    plain = fn.summary(net, (5, 3))
    assert plain.device_bytes is None
    assert str(plain) == str(fn.summary(Nest(), (5, 3)))
