"""Patterns of names, and the hints where names or shapes do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import checkpoint, nn
from funcnet.checkpoint.names import renamed
from funcnet.core.errors import StateDictError
from tests.module.models import Dense

NAMES = ["model.layers.0.attn.w", "model.layers.1.attn.w", "model.norm.gamma", "head.w"]


def becomes(rename, names=NAMES):
    return list(renamed(names, rename, "f").values())


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        (None, NAMES),
        ({}, NAMES),
        ({"model.*": "*"}, ["layers.0.attn.w", "layers.1.attn.w", "norm.gamma", "head.w"]),
        ({"*": "net.*"}, [f"net.{name}" for name in NAMES]),
        ({"model.layers.*.attn.*": "blocks.*.*"}, ["blocks.0.w", "blocks.1.w", *NAMES[2:]]),
        ({"model.layers.0.*": "a.*", "model.*": "b.*"}, ["a.attn.w", "b.layers.1.attn.w", "b.norm.gamma", "head.w"]),
        ({"head.*": None}, NAMES[:3]),
        ({"*.gamma": "*.weight"}, [*NAMES[:2], "model.norm.weight", "head.w"]),
        ({"head.w": "out"}, [*NAMES[:3], "out"]),
        ({"*": None}, []),
    ],
)  # fmt: skip
def test_what_names_become(rename, expected):
    assert becomes(rename) == expected


def test_stars_take_as_little_as_they_can():
    assert becomes({"a.*.b.*": "*/*"}, ["a.x.b.y.b.z"]) == ["x/y.b.z"]
    assert becomes({"a*": "*"}, ["a"]) == [""]
    assert becomes({"a.[0]?": "b"}, ["a.[0]?", "a.0x"]) == ["b", "a.0x"]  # no other sign is special


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ({"layers.*": "*"}, r"rename=\{'layers\.\*': …\} matches no name in f; there are: .*layers"),
        ({"model.*": "*", "model.layers.*": "*"}, r"never applies.*such as model\.layers\.0.*put it first"),
        ({"model.layers.*.attn.w": "w"}, r"model\.layers\.1\.attn\.w and model\.layers\.0\.attn\.w both become w"),
        ({"head.w": "model.norm.gamma"}, r"head\.w and model\.norm\.gamma both become"),
        ({"head.*": "*.*"}, r"more \* in the new name"),
    ],
)  # fmt: skip
def test_patterns_that_cannot_be(rename, words):
    with pytest.raises(ValueError, match=words):
        becomes(rename)


def test_dropping_a_name_frees_the_other():
    assert becomes({"a": None, "b": "a"}, ["a", "b"]) == ["a"]


# ---- in files ------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        self.blocks = [Dense(3, 3), Dense(3, 3)]
        self.norm = nn.LayerNorm(3)

    def __call__(self, x):
        return x


@pytest.fixture
def net():
    return Net()


def arrays_of(module, spell=lambda name: name):
    shapes = fn.state_dict(
        module, *jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))
    )
    rng = np.random.default_rng(0)
    return {
        spell(name): rng.standard_normal(a.shape).astype(np.float32) for name, a in shapes.items()
    }


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_file_with_other_names(tmp_path, net, ending):
    arrays = arrays_of(net, lambda name: f"model.{name}".replace("blocks", "layers"))
    path = checkpoint.save_arrays(tmp_path / f"a.{ending}", {**arrays, "head.weight": np.ones(3)})
    rename = {"model.layers.*": "blocks.*", "model.*": "*", "head.*": None}
    params, state = checkpoint.load_weights(path, net, rename=rename)
    named = fn.state_dict(net, params, state)
    for name, array in arrays.items():
        np.testing.assert_array_equal(
            named[name.replace("model.", "").replace("layers", "blocks")], array
        )
    again = checkpoint.load_weights(
        path, net, select="model.*", rename=dict(list(rename.items())[:2])
    )
    jax.tree.map(np.testing.assert_array_equal, (params, state), again)


def test_a_part_of_a_file_over_defaults(tmp_path, net):
    path = checkpoint.save_arrays(tmp_path / "a", arrays_of(net))
    default = fn.functionalize(net).init(jax.random.key(0))
    params, _ = checkpoint.load_weights(
        path, net, strict=False, select="blocks.0.*", dtype=jnp.bfloat16, default=default
    )
    assert params["blocks"]["0"]["weight"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(params["norm"]["weight"], default[0]["norm"]["weight"])
    with pytest.raises(
        StateDictError, match=r"a does not fit the module\n  missing: blocks\.1\.weight"
    ):
        checkpoint.load_weights(path, net, select="blocks.0.*")


SPELLED = {
    "prefix": (
        lambda name: f"module.{name}",
        "all 6 names begin with 'module.': load_weights(..., rename={'module.*': '*'})",
    ),
    "deep prefix": (lambda name: f"state.model.{name}", "rename={'state.model.*': '*'}"),
    "compiled": (lambda name: f"_orig_mod.{name}", "rename={'_orig_mod.*': '*'}"),
    "wrapped": (
        lambda name: name.replace("blocks.", "blocks._orig_mod.").replace(
            "norm.", "norm._orig_mod."
        ),
        "rename={'*._orig_mod.*': '*.*'}",
    ),
    "old norms": (
        lambda name: name.replace("norm.weight", "norm.gamma").replace("norm.bias", "norm.beta"),
        "1 names end in 'gamma' where PyTorch has 'weight' now: load_weights(..., rename={'*.gamma': '*.weight'})",
    ),
    "slip": (
        lambda name: name.replace("blocks.1.weight", "blocks.1.wieght"),
        "is blocks.1.wieght meant to be blocks.1.weight?",
    ),
}


@pytest.mark.parametrize(("spell", "hint"), SPELLED.values(), ids=SPELLED.keys())
def test_hints_say_what_mends_it(tmp_path, net, spell, hint):
    arrays = arrays_of(net, spell)
    path = checkpoint.save_arrays(tmp_path / "weights", arrays)
    with pytest.raises(StateDictError) as caught:
        checkpoint.load_weights(path, net)
    message = str(caught.value)
    assert message.startswith(f"{path} does not fit the module")
    assert hint in message
    if "rename=" in hint:  # and doing all that it says does
        hints = [
            line.split("rename=")[1][:-1] for line in message.splitlines() if "rename=" in line
        ]
        rename = {}
        for each in hints:
            rename |= eval(each)
        checkpoint.load_weights(path, net, rename=rename)


def test_the_module_lies_deeper_than_the_file(tmp_path):
    inner = Dense(3, 2)
    outer = nn.Sequential()
    outer.encoder = inner
    path = checkpoint.save_arrays(tmp_path / "a", arrays_of(inner))
    with pytest.raises(StateDictError, match=r"rename=\{'\*': 'encoder\.\*'\}"):
        checkpoint.load_weights(path, outer)
    checkpoint.load_weights(path, outer, rename={"*": "encoder.*"})


def test_a_prefix_beside_other_things(tmp_path, net):
    arrays = arrays_of(net, lambda name: f"model.{name}") | {"optimizer.step": np.zeros(())}
    path = checkpoint.save_arrays(tmp_path / "a", arrays)
    words = r"6 of 7 names begin with 'model\.': load_weights\(\.\.\., select='model\.\*', rename="
    with pytest.raises(StateDictError, match=words):
        checkpoint.load_weights(path, net)
    checkpoint.load_weights(path, net, select="model.*", rename={"model.*": "*"})


def test_every_misfit_is_listed_with_what_would_fit(tmp_path):
    module = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(4, 5, 3), nn.Linear(3, 2))
    arrays = arrays_of(module)
    arrays["0.weight"] = arrays["0.weight"].T
    arrays["1.weight"] = arrays["1.weight"].transpose(2, 3, 1, 0)
    arrays["2.weight"] = np.ones((7, 7), np.float32)
    path = checkpoint.save_arrays(tmp_path / "a", arrays)
    with pytest.raises(StateDictError) as caught:
        checkpoint.load_weights(path, module)
    message = str(caught.value)
    assert (
        "0.weight has shape (3, 2); the module declares (2, 3), which array.T would have" in message
    )
    assert (
        "1.weight has shape (3, 3, 4, 5); the module declares (5, 4, 3, 3), which array.transpose(3, 2, 0, 1)"
        in message
    )
    assert "2.weight has shape (7, 7); the module declares (2, 3)\n" in message + "\n"


def test_nothing_is_read_before_the_names_fit(tmp_path, net):
    arrays = arrays_of(net)
    path = checkpoint.save_arrays(tmp_path / "a", arrays)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StateDictError, match="missing"):
        checkpoint.load_weights(path, nn.Linear(3, 2))
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.load_weights(path, net)


def test_ten_thousand_names_that_do_not_fit_are_explained_at_once(net):
    given = {f"a.{i}.b": np.zeros(1) for i in range(10_000)}
    with pytest.raises(StateDictError, match=r"missing: blocks.*\n  unexpected: a\.0\.b"):
        fn.load_state_dict(net, given)
