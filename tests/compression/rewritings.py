"""All that makes of one model another: ``(module, params, state)`` in, the same out.

A rewriting says which examples it refuses, and with which words; and what its outputs are like, so that it is
checked against something that it did not compute itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

import funcnet as fn
from funcnet import compression, nn
from funcnet.module.rewriting.parts import arrays_by_path, trees_of


@dataclass(frozen=True)
class Rewriting:
    """One way of making a model smaller or other.

    Attributes:
        make: ``(module, params, state, input) -> (module, params, state)``.
        refuses: words of the error, by the name of an example.
        like: how far its outputs may lie from the model's own, relative to the largest; None where anything goes.
        near: how much uses of it may differ from a plain call.
    """

    make: Callable[..., Any]
    refuses: Mapping[str, str] = field(default_factory=dict)
    like: float | None = None
    near: float = 1e-5


REWRITINGS: dict[str, Rewriting] = {}

ADAPTED = {"lora": "is adapted by nn.lora: merge_lora first"}
NO_NORM = dict.fromkeys(
    ("linear", "grouped", "transposed", "tied", "attention", "recurrent", "repeated", "lora"),
    "no",
)
NO_CHAIN = {
    **dict.fromkeys(
        ("grouped", "tied", "recurrent", "repeated"), "no layer is known whose units go on"
    ),
    "lora": "adapted by nn.lora",
}
NO_LINEAR = {
    "tied": "embedding.weight is tied to",
    "lora": "adapted by nn.lora|LoRALinear.__call__",
}
FAKE = {"lora": "is adapted by nn.lora: merge_lora first"}


def rewriting(name, **settings):
    def register(make):
        REWRITINGS[name] = Rewriting(make, **settings)
        return make

    return register


@rewriting("as it is", like=0)
def as_it_is(module, params, state, x):
    return module, params, state


@rewriting("fused", like=1e-5, refuses=NO_NORM)
def fused(module, params, state, x):
    return nn.utils.fuse_conv_bn(module, params, state)


@rewriting("masked")
def masked(module, params, state, x):
    return module, compression.apply_masks(params, compression.magnitude_masks(params, 0.5)), state


def quantized(scheme):
    def make(module, params, state, x):
        return compression.quantize(module, params, state, scheme)

    return make


SCHEMES = {
    "int8": (compression.Int8(), 0.03),
    "int8 in groups": (compression.Int8(symmetric=False, group=4), 0.03),
    "int4": (compression.Int4(group=4), 0.3),
    "nf4": (compression.NF4(group=8, double=True), 0.5),
}

for scheme_name, (scheme, error) in SCHEMES.items():
    rewriting(scheme_name, like=error, refuses=ADAPTED)(quantized(scheme))


@rewriting("dequantized", like=0.03, refuses=ADAPTED)
def dequantized(module, params, state, x):
    return compression.dequantize(*compression.quantize(module, params, state))


@rewriting("int8, then lora", like=0.03, refuses=ADAPTED)
def quantized_and_adapted(module, params, state, x):
    """As QLoRA has it: the weights in few bits stay, what is trained is the addition."""
    small = compression.quantize(module, params, state)
    adapted = nn.lora(small[0], "*", rank=2)
    return adapted, *with_drawn(adapted, small)


@rewriting("shrunk", refuses=NO_CHAIN)
def shrunk(module, params, state, x):
    return compression.shrink(module, params, state, 0.5, verify=x)[:3]


@rewriting("dynamic", like=0.06, near=1e-2, refuses=NO_LINEAR)
def dynamic(module, params, state, x):
    return compression.quantize_dynamic(module, params, state)


@rewriting("fake", like=0.06, near=1e-2, refuses=FAKE)
def fake(module, params, state, x):
    made, params, state = compression.fake_quantize(module, params, state)
    return made, params, compression.calibrate(made, params, state, [x])


@rewriting("converted", like=0.06, near=1e-2, refuses=FAKE)
def converted(module, params, state, x):
    return compression.convert(*fake(module, params, state, x))


@rewriting("converted, products of floats", like=0.06, near=1e-2, refuses=FAKE)
def converted_with_floats(module, params, state, x):
    return compression.convert(*fake(module, params, state, x), products="float")


def with_drawn(module, given):
    """Return trees of a model that has more arrays than those of another: the others are drawn."""
    drawn = fn.functionalize(module).init(jax.random.key(0))
    return trees_of(module, arrays_by_path(module, *drawn) | arrays_by_path(*given))
