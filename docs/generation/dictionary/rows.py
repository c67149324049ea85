"""One row of the dictionary for each name of PyTorch: what funcnet's own errors say of it."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp

from docs.generation.dictionary import sentences
from docs.generation.dictionary.differences import differences
from docs.generation.dictionary.packages import Package
from docs.generation.dictionary.torch_names import TorchName, torch_names
from funcnet.core.torch_hints import instead_of, method

__all__ = ["KINDS", "Row", "SilentNameError", "rows"]

KINDS = {
    "same": "of the same name",
    "renamed": "of another name",
    "another way": "done in another way",
    "JAX": "in JAX",
    "not needed": "not needed",
}
"""What may be said of a name."""

OTHERWISE = {
    ("torch", "stack"): "jnp.stack(arrays, axis); fn.stack stacks whole trees",
    ("torch", "unbind"): "jnp.unstack(x, axis=axis); fn.unbind is of modules",
    ("torch", "export"): "fn.export, a package: fn.export.save, fn.export.onnx",
    ("torch.utils.checkpoint", "checkpoint"): "fn.remat(function); fn.checkpoint is the package of files",
    ("torch.func", "functionalize"): "nothing: functions of arrays have no effects; fn.functionalize is of modules",
    ("torch.nn.parallel", "data_parallel"): "parallel.batch_sharding(mesh) spreads a batch; parallel.data_parallel is "
    "a table of rules",
    ("torch.distributed", "fsdp"): "net = parallel.shard(net, mesh, parallel.fully_sharded()); parallel.fsdp is one "
    "of its rules",
}  # fmt: skip
"""What bears PyTorch's name here and is something else; errors can't say so."""

_TOLD = ". In funcnet: "
_ASSIGN = "arrays are immutable, so assign the result"
_JAX = re.compile(r"`?\b(jax|jnp|lax|np|x)\b[.\[ ]|`")


class SilentNameError(LookupError):
    """A name of PyTorch has no counterpart here, and no sentence in ``funcnet.core.torch_hints``."""


@dataclass(frozen=True)
class Row:
    """What is said of one name.

    Attributes:
        name: of PyTorch.
        kind: a key of `KINDS`.
        sentence: plain text, as errors have it; "" where the name is the same.
        value: the object of funcnet, where there is one.
        differences: of arguments, in Markdown.
    """

    name: str
    kind: str
    sentence: str
    value: Any = None
    differences: str = ""

    def markdown(self, short: str) -> str:
        """Write the right column."""
        if self.sentence.startswith(_ASSIGN):
            return "arrays are immutable: assign the result of the function without `_`"
        if self.kind == "same" and self.value is None:
            return f"`x.{self.name}`"
        said = sentences.link(short, self.value) if not self.sentence else ""
        said = said or sentences.markdown(self.sentence)
        return f"{said}: {self.differences}" if self.differences else said


@cache
def rows(package: Package) -> tuple[Row, ...]:
    """Make the rows of one package.

    Raises:
        SilentNameError: nothing is said of some names.
    """
    made = [_row(package, name) for name in torch_names()[package.name]]
    silent = [row.name for row in made if row.kind == "same" and row.sentence == "?"]
    if silent:
        raise SilentNameError(f"{package.name}: add to funcnet/core/torch_hints: {silent}")
    return tuple(made)


def _row(package: Package, name: TorchName) -> Row:
    other = OTHERWISE.get((package.name, name.name))
    if other is not None:
        return Row(name.name, "another way", other)
    if package.asked == "array":
        return _method(name)
    value, sentence = _asked(package.asked, name.name)
    if sentence is None:
        return Row(name.name, "same", "", value, differences(name, value))
    named = sentences.names_in(sentence)
    if len(named) == 1 and re.fullmatch(r"[\w.]+(\([^;:]*\))?", sentence):
        value = sentences.find(named[0])
        shown = re.search(r"\((?!\.\.\.)", sentence)  # the arguments are in the sentence
        return Row(name.name, "renamed", sentence, value, "" if shown else differences(name, value))
    return Row(name.name, _kind(sentence), sentence)


def _asked(package: str, name: str) -> tuple[Any, str | None]:
    """Ask a package for a name, as users do; return the object, or what the error says."""
    try:
        return getattr(sentences.find(package), name), None
    except AttributeError as error:
        return None, str(error).partition(_TOLD)[2] or "?"


def _method(name: TorchName) -> Row:
    if hasattr(jnp.ones((1, 1)), name.name) and name.name not in instead_of("array"):
        return Row(name.name, "same", "")
    sentence = method(name.name) or "?"
    return Row(name.name, _kind(sentence), sentence)


def _kind(sentence: str) -> str:
    if sentence == "?":
        return "same"
    if sentences.names_in(sentence):
        return "another way"
    return "JAX" if _JAX.search(sentence) else "not needed"
