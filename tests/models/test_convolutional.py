"""ResNet and U-Net against plain PyTorch: outputs, gradients, and the statistics after a training step."""

import jax
import numpy as np
import pytest

import funcnet as fn
from examples.models import resnet, unet
from funcnet import functional as F
from tests.models import reference

torch = pytest.importorskip("torch")

# float32: a few ten convolutions deep, sums of hundreds of products in another order
EXACT = 1e-5
GRADIENT = 1e-5

RESNETS = {
    "basic": resnet.ResNetConfig((1, 2, 1, 1), width=8, num_classes=5),
    "bottleneck": resnet.ResNetConfig((1, 2, 1, 1), bottleneck=True, width=4, num_classes=5),
}


def resnet_pair(kind):
    config = RESNETS[kind]
    theirs = reference.ResNet(config.depths, config.bottleneck, config.width, config.num_classes)
    return resnet.ResNet(config), reference.randomize(theirs)


def unet_pair():
    return unet.UNet(unet.UNetConfig(3, 2, 4)), reference.randomize(reference.UNet(3, 2, 4))


PAIRS = {
    "basic": lambda: (*resnet_pair("basic"), (3, 3, 65, 64)),
    "bottleneck": lambda: (*resnet_pair("bottleneck"), (3, 3, 65, 64)),
    "unet": lambda: (*unet_pair(), (2, 3, 37, 32)),
}


def made(kind, folder):
    """Make a model, PyTorch's, the weights that both have, and images."""
    ours, theirs, shape = PAIRS[kind]()
    params, state = reference.load(reference.saved(theirs, folder), ours)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return ours, theirs, params, state, images


def check_buffers(ours, params, state, theirs):
    found = fn.state_dict(ours, params, state)
    for name, array in theirs.named_buffers():
        np.testing.assert_allclose(found[name], array, rtol=EXACT, atol=EXACT, err_msg=name)


@pytest.mark.parametrize("kind", PAIRS)
def test_evaluation_and_the_way_back(kind, tmp_path):
    ours, theirs, params, state, images = made(kind, tmp_path)
    logits, _ = reference.applied(ours, params, state, images)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(images))
    assert reference.far(logits, expected) < EXACT

    from safetensors.torch import load_file

    path = fn.checkpoint.save_weights(tmp_path / "w.safetensors", ours, params, state)
    theirs.load_state_dict(load_file(path), strict=True)


def test_unet_remembers_statistics(tmp_path):
    ours, theirs, params, state, images = made("unet", tmp_path)
    _, state = reference.applied(ours, params, state, images, train=True)
    with torch.no_grad():
        theirs.train()(torch.tensor(images))
    check_buffers(ours, params, state, theirs)


def test_a_training_step_of_resnet(tmp_path):
    ours, theirs, params, state, images = made("bottleneck", tmp_path)
    labels = np.array([0, 1, 0], np.int32)
    net = fn.functionalize(ours)

    @jax.jit
    def step(params, state):
        def loss(params):
            logits, new = net.apply(params, state, images, train=True)
            return F.cross_entropy(logits, labels), new

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, state), grads = step(params, state)
    theirs.train()
    loss = torch.nn.functional.cross_entropy(
        theirs(torch.tensor(images)), torch.tensor(labels.tolist())
    )
    names = [name for name, _ in theirs.named_parameters()]
    expected = dict(zip(names, torch.autograd.grad(loss, list(theirs.parameters())), strict=True))

    assert reference.far(value, loss.detach()) < EXACT
    found = fn.state_dict(ours, grads)
    largest = max(float(array.abs().max()) for array in expected.values())
    for name in names:
        assert np.abs(found[name] - expected[name].numpy()).max() < GRADIENT * largest, name
    check_buffers(ours, params, state, theirs)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_is_timms(name, tmp_path):
    try:
        import timm
    except Exception as error:  # also where its torchvision does not fit the PyTorch that is here
        pytest.skip(f"timm cannot be imported: {error}")
    theirs = reference.randomize(timm.create_model(name, num_classes=7)).eval()
    ours = resnet.resnet(int(name.removeprefix("resnet")), num_classes=7)
    params, state = reference.load(reference.saved(theirs, tmp_path), ours)
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(images))
    assert reference.far(reference.applied(ours, params, state, images)[0], expected) < EXACT
