"""Transforms against Pillow, PyTorch, colorsys and their own formulas."""

import colorsys

import numpy as np
import pytest

from funcnet import data
from funcnet.data import augment


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def gen(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", [(10, 15), (7, 40), (33, 11), (20, 30)])
@pytest.mark.parametrize("gray", [False, True])
def test_resize_equals_pillow(image, size, gray):
    pil = pytest.importorskip("PIL.Image")
    image = image[..., 0] if gray else image
    theirs = np.asarray(pil.fromarray(image).resize(size[::-1], pil.Resampling.BILINEAR))
    # Pillow rounds to integers after each of the two axes.
    assert np.abs(augment.resize(image, size).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("antialias", [True, False])
def test_resize_equals_pytorch(rng, antialias):
    torch = pytest.importorskip("torch")
    image = rng.normal(size=(9, 14, 2)).astype(np.float32)
    for size in ((4, 20), (18, 5)):
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(image).permute(2, 0, 1)[None],
            size,
            mode="bilinear",
            align_corners=False,
            antialias=antialias,
        )[0].permute(1, 2, 0)
        ours = augment.resize(image, size, antialias=antialias)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)  # float32 sums of 14 terms


def test_nearest_equals_pillow(image):
    pil = pytest.importorskip("PIL.Image")
    # Sizes at which no pixel lies half way between two.
    theirs = pil.fromarray(image).resize((10, 48), pil.Resampling.NEAREST)
    np.testing.assert_array_equal(augment.resize(image, (48, 10), "nearest"), np.asarray(theirs))


def test_resize_of_the_shorter_side(image):
    assert augment.Resize(10)(image).shape == (10, 15, 3)
    assert augment.Resize((5, 6))(image).shape == (5, 6, 3)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("angle", [90.0, 30.0, -75.0])
def test_rotation_equals_pillow(rng, angle, method):
    pil = pytest.importorskip("PIL.Image")
    image = rng.integers(0, 256, (16, 16), dtype=np.uint8)
    way = pil.Resampling.NEAREST if method == "nearest" else pil.Resampling.BILINEAR
    theirs = np.asarray(pil.fromarray(image).rotate(angle, way)).astype(int)
    ours = augment.RandomRotation((angle, angle), method=method)(image, gen())
    # Pillow cuts the border off where bilinear weights fade into the fill: compare the inside.
    y, x = np.mgrid[:16, :16] - 7.5
    inside = np.hypot(y, x) < 7
    same = np.abs(ours.astype(int) - theirs)[inside] <= 1
    assert same.mean() >= (0.97 if method == "nearest" else 1.0)  # nearest: ties go either way


def test_crops(image):
    np.testing.assert_array_equal(augment.CenterCrop((10, 20))(image), image[5:15, 5:25])
    seen = set()
    for seed in range(40):
        part = augment.RandomCrop((18, 28))(image, gen(seed))
        where = [
            (t, s)
            for t in range(3)
            for s in range(3)
            if (image[t : t + 18, s : s + 28] == part).all()
        ]
        assert len(where) == 1
        seen.add(where[0])
    assert len(seen) == 9
    padded = augment.RandomCrop(34, padding=(7, 2), fill=9)(image, gen())
    assert padded.shape == (34, 34, 3)
    assert (padded[0] == 9).all() or (padded[-1] == 9).all()
    with pytest.raises(ValueError, match=r"\(21, 21\) of \(20, 30\)"):
        augment.CenterCrop(21)(image)


@pytest.mark.parametrize("fill", ["reflect", "edge", 5])
def test_pad(image, fill):
    mode = {"mode": fill} if isinstance(fill, str) else {"constant_values": fill}
    expected = np.pad(image, [(2, 2), (3, 3), (0, 0)], **mode)
    np.testing.assert_array_equal(augment.Pad((2, 3), fill)(image), expected)


def test_random_resized_crop_areas_and_shapes():
    crop = augment.RandomResizedCrop(8)
    image = np.zeros((100, 150), np.uint8)
    parts = np.array([crop._part(image, gen(seed)) for seed in range(500)])
    area, ratio = parts[:, 2] * parts[:, 3] / 15_000, parts[:, 3] / parts[:, 2]
    assert area.min() > 0.07
    assert area.max() <= 1
    assert 0.4 < area.mean() < 0.6
    assert ratio.min() > 0.72
    assert ratio.max() < 1.37
    assert (parts[:, 0] + parts[:, 2] <= 100).all()
    assert (parts[:, 1] + parts[:, 3] <= 150).all()
    assert crop(np.zeros((3, 300), np.uint8), gen()).shape == (8, 8)


@pytest.mark.parametrize("flip", [augment.RandomHorizontalFlip, augment.RandomVerticalFlip])
def test_flips(image, flip):
    axis = 1 if flip is augment.RandomHorizontalFlip else 0
    np.testing.assert_array_equal(flip(1.0)(image, gen()), np.flip(image, axis))
    np.testing.assert_array_equal(flip(0.0)(image, gen()), image)
    flipped = sum((flip(0.3)(image, gen(s)) != image).any() for s in range(400))
    assert 90 < flipped < 150  # binomial: 120, deviation 9
    with pytest.raises(ValueError, match="probability"):
        flip(2.0)


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")],
)
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_jitter_equals_pillow(image, name, enhancer, factor):
    pytest.importorskip("PIL")
    from PIL import Image, ImageEnhance

    theirs = getattr(ImageEnhance, enhancer)(Image.fromarray(image)).enhance(factor)
    ours = augment.ColorJitter(**{name: (factor, factor)})(image, gen())
    # Pillow rounds the gray image to integers first and cuts fractions off.
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 2


@pytest.mark.parametrize("turn", [-0.4, 0.1, 0.5])
def test_hue_equals_colorsys(rng, turn):
    image = rng.random((5, 6, 3)).astype(np.float32)
    image[0, 0] = 0.5  # gray has no hue
    ours = augment.ColorJitter(hue=(turn, turn))(image, gen())
    for pixel, made in zip(image.reshape(-1, 3), ours.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*pixel.tolist())
        expected = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
        np.testing.assert_allclose(made, expected, rtol=0, atol=2e-6)  # float32 against float64


def test_jitter_draws_in_its_range(image):
    jitter = augment.ColorJitter(0.5, 0.5, 0.5, 0.2)
    made = [jitter(image, gen(seed)) for seed in range(3)]
    assert all(m.dtype == np.uint8 and m.shape == image.shape for m in made)
    assert (made[0] != made[1]).any()
    np.testing.assert_array_equal(made[2], jitter(image, gen(2)))
    np.testing.assert_array_equal(augment.ColorJitter()(image, gen()), image)
    for bad in ({"hue": 0.6}, {"brightness": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            augment.ColorJitter(**bad)


def test_float_normalise_and_gray(image):
    values = augment.ToFloat()(image)
    np.testing.assert_allclose(values, image.transpose(2, 0, 1) / 255, rtol=1e-6)
    assert augment.ToFloat(channels_first=False)(image).shape == image.shape
    assert augment.ToFloat()(image[..., 0]).shape == (1, 20, 30)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    ours = augment.Normalize(mean, std)(values)
    expected = (values - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    last = augment.Normalize(mean, std, channels_first=False)(values.transpose(1, 2, 0))
    np.testing.assert_array_equal(last.transpose(2, 0, 1), ours)
    assert (values == augment.ToFloat()(image)).all()  # not written into
    gray = augment.Grayscale(3)(image)
    np.testing.assert_allclose(gray[..., 1], image @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("value", [0, "random"])
def test_erasing(rng, first, value):
    image = rng.normal(size=(3, 40, 50) if first else (40, 50, 3))
    erase = augment.RandomErasing(1.0, value=value, channels_first=first)
    made = erase(image, gen(1))
    axis = 0 if first else -1
    changed = (made != image).all(axis)
    rows, columns = changed.any(1).sum(), changed.any(0).sum()
    assert changed.sum() == rows * columns
    assert 0.015 < changed.mean() < 0.35
    np.testing.assert_array_equal(
        made == image, np.expand_dims(~changed, axis) | np.zeros_like(made, bool)
    )
    assert erase(image.astype(np.uint8), gen()).dtype == np.uint8


def test_mixup():
    images = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 4, 4), np.float32)
    batch = {"image": images, "label": np.arange(6), "other": 1}
    mixed = augment.MixUp(6, alpha=1.0)(batch, gen())
    # The image's value is the class: so it is the mean of the label's distribution.
    np.testing.assert_allclose(mixed["image"][:, 0, 0], mixed["label"] @ np.arange(6.0), atol=1e-5)
    np.testing.assert_allclose(mixed["label"].sum(1), 1, atol=1e-6)
    assert mixed["other"] == 1
    again = augment.MixUp(6)(mixed, gen())
    np.testing.assert_allclose(again["label"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("first", [False, True])
def test_cutmix(first):
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 8, 10, 8), np.uint8)
    mixed, labels = augment.CutMix(6, image=0, label=1, channels_first=first)(
        (images, np.arange(6)), gen(3)
    )
    shares = np.stack([(mixed == c).mean((1, 2, 3)) for c in range(6)], axis=1)
    np.testing.assert_allclose(labels, shares, atol=1e-6)
    assert (labels.max(1) < 1).any()
    assert (images[:, 0, 0, 0] == np.arange(6)).all()


def test_on_compose_apply():
    on = augment.On(0, lambda x: x + 1, lambda x, rng: x * rng.integers(2, 9))
    first, label = on((np.ones(2), 5), gen())
    assert label == 5
    assert first[0] % 2 == 0
    assert on([1, 2], gen())[1] == 2
    applied = sum(augment.RandomApply(lambda x: 1, p=0.25)(0, gen(s)) for s in range(400))
    assert 70 < applied < 130  # binomial: 100, deviation 9
    with pytest.raises(ValueError, match="probability"):
        augment.RandomApply(len, p=-1)


def test_in_a_loader_with_worker_processes(image):
    steps = augment.On(
        "image",
        augment.RandomCrop(16, padding=2),
        augment.RandomHorizontalFlip(),
        augment.ColorJitter(0.2, 0.2, 0.2, 0.1),
        augment.ToFloat(),
        augment.Normalize([0.5] * 3, [0.25] * 3),
        augment.RandomErasing(channels_first=True),
    )
    dataset = data.ArrayDataset({"image": np.stack([image] * 8), "label": np.arange(8)})

    def batches(number):
        loader = data.DataLoader(
            dataset,
            4,
            num_workers=number,
            workers="process",
            transforms=[steps],
            batch_transforms=[augment.CutMix(8, channels_first=True)],
        )
        return list(loader)

    for ours, other in zip(batches(0), batches(2), strict=True):
        np.testing.assert_array_equal(ours["image"], other["image"])
        np.testing.assert_array_equal(ours["label"], other["label"])
        assert ours["image"].shape == (4, 3, 16, 16)


@pytest.mark.parametrize(
    ("sample", "entry"), [({"image": np.zeros((4, 4))}, "'image'"), ((np.zeros((4, 4)), 1), "0")]
)
def test_a_transform_of_images_that_is_given_a_sample_says_what_to_write(sample, entry):
    loader = data.DataLoader([sample], transforms=[augment.RandomHorizontalFlip(1.0)])
    with pytest.raises(
        data.SampleError, match=rf"write data\.augment\.On\({entry}, RandomHorizontalFlip"
    ):
        next(iter(loader))
