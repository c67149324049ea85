"""Sampling at places: derivatives of every order and mode, and on meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from funcnet import functional as F
from funcnet.functional.images import grid_sampling


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def sample(image, grid, mode="bilinear", padding_mode="zeros"):
    return F.grid_sample(image, grid, mode, padding_mode, align_corners=False)


def test_all_modes_of_differentiation_agree():
    """The rows compare first derivatives with PyTorch's in every mode; the rule is the same in all of them."""
    with jax.enable_x64(True):
        at = (draw(1, 1, 3, 4), draw(1, 1, 2, 2) * 0.7)
        step = tuple(jnp.asarray(part[..., ::-1]) for part in at)

        def loss(arrays):
            return jnp.sum(jnp.sin(sample(*arrays)))

        def along(tree):
            return sum(jnp.vdot(a, b) for a, b in zip(tree, step, strict=True))

        def forward(x):
            return jax.jvp(loss, (x,), (step,))[1]

        @jax.jit
        def derivatives(x):
            gradient = jax.grad(loss)
            forward_over_reverse = jax.jvp(gradient, (x,), (step,))[1]
            reverse_over_reverse = jax.grad(lambda x: along(gradient(x)))(x)
            second = forward_over_reverse, reverse_over_reverse, jax.grad(forward)(x)
            return loss(x), forward(x), gradient(x), second

        _, slope, gradient, second = derivatives(at)
        np.testing.assert_allclose(along(gradient), slope, rtol=1e-12)
        h = 1e-5
        ends = [
            derivatives(tuple(a + s * b for a, b in zip(at, step, strict=True))) for s in (h, -h)
        ]
        # central differences are right to h², and lose 1e-16 / h to rounding
        np.testing.assert_allclose((ends[0][0] - ends[1][0]) / (2 * h), slope, rtol=1e-6)
        expected = jax.tree.map(lambda a, b: (a - b) / (2 * h), ends[0][2], ends[1][2])
        for given in second:
            for a, b in zip(given, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_each_gradient_alone_is_its_part_of_both(x64):
    """In 64 bits: two programs round apart, and a sum that nearly cancels shows it in 32."""
    image, grid = draw(2, 3, 4, 5), draw(2, 3, 3, 2)

    def loss(image, grid):
        return jnp.sum(sample(image, grid) ** 2)

    both = jax.jit(jax.grad(loss, (0, 1)))(image, grid)
    for number, part in enumerate(both):
        alone = jax.jit(jax.grad(loss, number))(image, grid)
        np.testing.assert_allclose(alone, part, rtol=1e-6)


def test_the_gradient_of_an_image_is_one_scatter():
    gradient = jax.jit(jax.grad(lambda image, grid: jnp.sum(sample(image, grid) ** 2)))
    program = gradient.lower(jnp.ones((2, 3, 4, 5)), jnp.ones((2, 3, 3, 2))).as_text()
    assert program.count('"stablehlo.scatter"') == 1


def test_vmap_over_either_argument_is_a_loop():
    images, grids = (
        jnp.asarray(x, jnp.float32) for x in (draw(2, 1, 3, 4, 5), draw(2, 1, 3, 3, 2))
    )
    gradient = jax.jit(jax.grad(lambda image, grid: jnp.sum(sample(image, grid) ** 2), (0, 1)))
    for axes in ((0, 0), (0, None), (None, 0)):
        args = [x if axis == 0 else x[0] for x, axis in zip((images, grids), axes, strict=True)]
        given = jax.vmap(gradient, axes)(*args)
        for n in range(2):
            expected = gradient(*(x[n] if a == 0 else x for x, a in zip(args, axes, strict=True)))
            each = jax.tree.map(lambda x, n=n: x[n], given)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), each, expected
            )


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit, "shard_map"])
def test_images_on_a_mesh(kind):
    if jax.device_count() < 2:
        pytest.skip("needs two devices")
    arrays = [jnp.asarray(x, jnp.float32) for x in (draw(2, 3, 4, 5), draw(2, 3, 3, 2))]
    gradient = jax.grad(lambda image, grid: jnp.sum(sample(image, grid) ** 2), (0, 1))
    expected = gradient(*arrays)
    by_hand = kind == "shard_map"
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto if by_hand else kind,))
    spec = PartitionSpec("batch")
    with jax.set_mesh(mesh):
        arrays = [jax.device_put(x, NamedSharding(mesh, spec)) for x in arrays]
        run = jax.shard_map(gradient, in_specs=spec, out_specs=spec) if by_hand else gradient
        given = jax.jit(run)(*arrays)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), given, expected
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_one_table_for_all_images_changes_nothing(monkeypatch, mode, padding_mode):
    def results(image, grid):
        def form(image, grid):
            return sample(image, grid, mode, padding_mode)

        output, pull = jax.vjp(form, image, grid)
        tangents = (jnp.cos(image), jnp.sin(grid))
        mapped = jax.vmap(form, (0, None))(jnp.stack([image, -image]), grid)
        return output, pull(jnp.cos(output)), jax.jvp(form, (image, grid), tangents)[1], mapped

    with jax.enable_x64(True):
        # some places are outside
        arrays = jnp.asarray(draw(3, 2, 4, 5)), jnp.asarray(draw(3, 2, 3, 2))
        found = []
        for together in (False, True):
            monkeypatch.setattr(grid_sampling, "_in_one_table", lambda *_, is_so=together: is_so)
            found.append(jax.jit(lambda *arrays: results(*arrays))(*arrays))
    for apart, in_one in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(in_one, apart, rtol=1e-12, atol=1e-12)


def test_devices_that_share_images_out_read_their_own_alone():
    devices = jax.devices()[:2]
    if len(devices) < 2:
        pytest.skip("one device")
    spread = NamedSharding(
        Mesh(np.array(devices), ("batch",), axis_types=(AxisType.Auto,)), PartitionSpec("batch")
    )
    image = jax.device_put(jnp.ones((4, 3, 5, 6)), spread)
    grid = jax.device_put(jnp.zeros((4, 2, 3, 2)), spread)

    def loss(image, grid):
        return jnp.sum(jnp.sin(F.grid_sample(image, grid)))

    program = jax.jit(jax.grad(loss, (0, 1))).lower(image, grid).compile().as_text()
    assert "all-gather" not in program


def test_export_for_any_number_of_images():
    (count,) = export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((count, 3, 5, 6), jnp.float32)
    grid = jax.ShapeDtypeStruct((count, 2, 3, 2), jnp.float32)
    exported = export.export(jax.jit(F.grid_sample))(image, grid)
    arrays = (
        jnp.asarray(draw(2, 3, 5, 6), jnp.float32),
        jnp.asarray(draw(2, 2, 3, 2), jnp.float32),
    )
    np.testing.assert_allclose(exported.call(*arrays), F.grid_sample(*arrays), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("images", "points"), [(0, 2), (2, 0)])
def test_nothing_to_sample(together, images, points, monkeypatch):
    monkeypatch.setattr(grid_sampling, "_in_one_table", lambda *_: together)
    image, grid = jnp.ones((images, 3, 4, 4)), jnp.zeros((images, points, 2, 2))
    output, pull = jax.vjp(F.grid_sample, image, grid)
    assert output.shape == (images, 3, points, 2)
    assert [part.shape for part in pull(output)] == [image.shape, grid.shape]
