"""Calls in place of composites, in the text of a StableHLO module.

Why: JAX writes an operation that StableHLO lacks, such as ``erf``, as a composite: a name beside a function of plain
operations. TensorFlow's compiler does not follow one whose shapes are open, nor does LiteRT's. A plain call of the
same function says the same. When JAX's text changes, `calls_for_composites` says so and the pattern is mended here.
"""

import re

__all__ = ["calls_for_composites"]

_COMPOSITE = re.compile(
    r'stablehlo\.composite "[^"]+" (?P<operands>[^{]*?) ?\{[^\n]*?'
    r'decomposition = (?P<name>@[\w.$-]+|@"[^"]+")[^\n]*?\} : '
)


def calls_for_composites(text: str) -> str:
    """Replace every composite by a call of the function that it stands for.

    Raises:
        ValueError: one is written in a form that is not known here.

    >>> from funcnet.core.jax_internals.composites import calls_for_composites
    >>> line = '%1 = stablehlo.composite "chlo.erf" %0 {decomposition = @erf.impl, version = 1 : i32} : (f32) -> f32'
    >>> calls_for_composites(line)
    '%1 = func.call @erf.impl(%0) : (f32) -> f32'
    """
    made = _COMPOSITE.sub(r"func.call \g<name>(\g<operands>) : ", text)
    if "stablehlo.composite" in made:
        line = next(line for line in made.splitlines() if "stablehlo.composite" in line)
        raise ValueError(f"a composite that is written in a new way: {line.strip()}")
    return made
