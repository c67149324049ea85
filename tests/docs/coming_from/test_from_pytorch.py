"""The page that shows one program twice: both print the same losses, from the same weights and batches."""

import re

import jax
import numpy as np
import pytest

import funcnet as fn
from docs.generation.assemble import DOCS

TEXT = (DOCS / "coming_from/pytorch.md").read_text()


def script(opening, library):
    """The page's program, without what is drawn at random: the order of batches, dropout."""
    found = re.search(rf"```{re.escape(opening)}\n(import {library}\n.*?)```", TEXT, re.DOTALL)
    assert found is not None
    text = found[1]
    for drawn, fixed in (("shuffle=True", "shuffle=False"), ("nn.Dropout(0.2)", "nn.Dropout(0.0)")):
        assert text.count(drawn) == 1
        text = text.replace(drawn, fixed)
    return text


def printed(text, names, capsys):
    exec(compile(text, "pytorch.md", "exec"), names)
    return capsys.readouterr().out.split()


@pytest.mark.slow
def test_both_programs_print_the_same_losses(capsys):
    torch = pytest.importorskip("torch")
    ours: dict = {}
    said = printed(script("{code-cell} python", "jax"), ours, capsys)
    net = ours["net"]
    started = fn.state_dict(net.module, *net.init(jax.random.key(0)))
    weights = {name: torch.tensor(np.array(value)) for name, value in started.items()}

    theirs: dict = {"weights": weights}
    made = "model = Net().to(device)\n"
    text = script("python", "torch")
    assert text.count(made) == 1
    text = text.replace(made, f"{made}model.load_state_dict(weights)\n").replace(
        '"cuda" if', '"cpu" if'
    )
    expected = printed(text, theirs, capsys)

    losses = np.array([float(loss) for loss in ours["losses"]])
    same = np.array([float(loss) for loss in theirs["losses"]])
    assert len(losses) == 2 * len(ours["loader"])
    assert losses[-1] < losses[0] / 4
    np.testing.assert_allclose(losses[:10], same[:10], rtol=2e-5)
    np.testing.assert_allclose(losses, same, rtol=5e-3)  # what rounding makes of 100 steps
    assert said == expected


def test_what_the_page_says_of_defaults():
    """Numbers that the page claims are PyTorch's: the constructors' own tests have the rest."""
    from funcnet import nn, optim

    linear = fn.functionalize(nn.Linear(100, 50)).init(jax.random.key(0))[0]["weight"]
    assert linear.shape == (50, 100)
    assert float(abs(linear).max()) <= 0.1  # 1 / sqrt(in_features)
    conv = fn.functionalize(nn.Conv2d(3, 8, (2, 5))).init(jax.random.key(0))[0]["weight"]
    assert conv.shape == (8, 3, 2, 5)
    opt_state = optim.adamw(1e-3).init({"w": linear})
    hyper = optim.hyperparams(opt_state)
    assert float(hyper["weight_decay"]) == pytest.approx(0.01)
