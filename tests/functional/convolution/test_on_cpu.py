"""The form of convolution for many images on CPU against JAX's one primitive, under every transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from funcnet import functional as F
from funcnet.functional.convolution import on_cpu

CASES = {
    "3x3": ((8, 3, 9, 8), (4, 3, 3, 3), 1, 1, 1),
    "strided and dilated": ((6, 2, 11, 9), (3, 2, 3, 2), 2, 1, 2),
    "one pixel, strided": ((4, 3, 7, 6), (4, 3, 1, 1), 2, 0, 1),
    "one pixel, padded": ((4, 3, 5, 6), (2, 3, 1, 1), 1, 1, 1),
}
EXACT = 2e-12  # float64: the order of sums differs


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(on_cpu, "_LEAST_ELEMENTS", 0)
    monkeypatch.setattr(on_cpu, "_LEAST_PIXELS", 0)
    monkeypatch.setattr(on_cpu, "_is_one_device", lambda: True)
    jax.clear_caches()
    yield
    jax.clear_caches()


def forms(stride, padding, dilation, channels_last):
    layout = "NHWC" if channels_last else "NCHW"

    def ours(x, w):
        return F.conv2d(x, w, None, stride, padding, dilation, channels_last=channels_last)

    def plain(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (stride,) * 2,
            [(padding,) * 2] * 2,
            rhs_dilation=(dilation,) * 2,
            dimension_numbers=(layout, "OIHW", layout),
        )

    return ours, plain


def results(function, x, w, dx, dw):
    """Return values and derivatives of every kind that training uses."""

    def loss(x, w):
        return jnp.sum(jnp.sin(function(x, w)))

    grad = jax.grad(loss, (0, 1))

    def along(x, w):
        gx, gw = grad(x, w)
        return jnp.vdot(gx, dx) + jnp.vdot(gw, dw)

    return {
        "value": function(x, w),
        "gradients": grad(x, w),
        "gradient of the weights": jax.grad(loss, 1)(x, w),
        "jvp": jax.jvp(function, (x, w), (dx, dw))[1],
        "jvp of the images": jax.jvp(lambda x: function(x, w), (x,), (dx,))[1],
        "forward over reverse": jax.jvp(grad, (x, w), (dx, dw))[1],
        "reverse over reverse": jax.grad(along, (0, 1))(x, w),
        "vmap": jax.vmap(function, (0, None))(jnp.stack([x, 2 * x]), w),
        "gradient under vmap": jax.vmap(grad, (None, 0))(x, jnp.stack([w, 2 * w])),
    }


@pytest.mark.parametrize(
    ("name", "channels_last"),
    [("3x3", False), ("3x3", True), *((name, False) for name in list(CASES)[1:])],
)
def test_every_derivative_is_that_of_the_primitive(name, channels_last, rng, x64, always):
    shape, filters, *settings = CASES[name]
    x, dx = (rng.standard_normal(shape) for _ in range(2))
    w, dw = (jnp.asarray(rng.standard_normal(filters)) for _ in range(2))
    x, dx = (jnp.asarray(a.transpose(0, 2, 3, 1) if channels_last else a) for a in (x, dx))
    ours, plain = (
        jax.jit(lambda *arrays, f=f: results(f, *arrays)) for f in forms(*settings, channels_last)
    )
    found, expected = ours(x, w, dx, dw), plain(x, w, dx, dw)
    for kind in expected:
        for a, b in zip(*map(jax.tree.leaves, (found[kind], expected[kind])), strict=True):
            scale = max(1.0, np.abs(b).max())
            np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=EXACT, err_msg=kind)


def test_what_is_not_finite_stays_where_it_is_seen(always):
    x = jnp.ones((4, 2, 8, 8)).at[1, 0, 2, 2].set(jnp.nan)
    y = F.conv2d(x, jnp.ones((3, 2, 3, 3)), padding=1)
    expected = np.zeros((4, 3, 8, 8), bool)
    expected[1, :, 1:4, 1:4] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize(
    ("shape", "stride", "groups", "taken"),
    [
        ((128, 32, 28, 28), (1, 1), 1, True),
        ((127, 32, 28, 28), (1, 1), 1, False),  # parts must be equal
        ((2, 3, 8, 8), (1, 1), 1, False),
        ((128, 32, 28, 28), (1, 1), 2, False),
        ((128, 32, 28), (1,), 1, False),
        ((0, 32, 28, 28), (1, 1), 1, False),
    ],
)
def test_where_it_is_used(shape, stride, groups, taken, monkeypatch):
    monkeypatch.setattr(on_cpu, "_is_one_device", lambda: True)
    weight = jnp.ones((32, 32 // groups, *(3,) * len(stride)))
    found = on_cpu.is_quicker_on_cpu(jnp.ones(shape), weight, stride, groups, False)
    assert found is taken


def test_devices_that_share_a_batch_out_compute_their_own_images_alone():
    devices = jax.devices()[:2]
    if len(devices) < 2:
        pytest.skip("one device")
    mesh = Mesh(np.array(devices), ("batch",), axis_types=(AxisType.Auto,))
    images = jax.device_put(jnp.ones((16, 16, 32, 32)), NamedSharding(mesh, PartitionSpec("batch")))
    weight = jax.device_put(jnp.ones((16, 16, 3, 3)), NamedSharding(mesh, PartitionSpec()))

    def loss(images, weight):
        return jnp.sum(jnp.sin(F.conv2d(images, weight, padding=1)))

    program = jax.jit(jax.grad(loss, (0, 1))).lower(images, weight).compile().as_text()
    assert "all-gather" not in program


def test_export_for_any_number_of_images():
    (count,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, 3, 9, 9), jnp.float32)
    weight = jnp.ones((4, 3, 3, 3))
    exported = export.export(jax.jit(lambda x: F.conv2d(x, weight)))(images)
    x = jnp.arange(2 * 3 * 81.0).reshape(2, 3, 9, 9)
    np.testing.assert_array_equal(exported.call(x), F.conv2d(x, weight))
