"""Run a page's code from the top: cells that are ours, and fences of another library between them."""

import re

import numpy as np

import funcnet as fn

BLOCK = re.compile(r"^```(\{code-cell\} python|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text):
    """Pairs of ``"ours"`` or ``"theirs"`` and code, in order."""
    for kind, code in BLOCK.findall(text):
        raises = ":tags: [raises-exception]" in code
        lines = [line for line in code.splitlines() if not line.startswith(":tags:")]
        if not raises:
            yield ("theirs" if kind == "python" else "ours"), "\n".join(lines)


def run(text):
    """Execute a page.

    Our cells see what our cells made; their fences see that too, below what their fences made.

    Returns:
        The names of our cells, and those of their fences.
    """
    ours, theirs = {"__name__": "page"}, {}
    for number, (kind, code) in enumerate(blocks(text)):
        compiled = compile(code, f"block {number}", "exec")
        if kind == "ours":
            exec(compiled, ours)
        else:
            seen = {**ours, **theirs}
            before = dict(seen)
            exec(compiled, seen)
            theirs |= {name: x for name, x in seen.items() if before.get(name) is not x}
    return ours, theirs


def check(module, arrays, *inputs, expected):
    """Compare a layer with its weights moved: float32, sums of some dozen products in another order."""
    params, state = fn.load_state_dict(module, arrays)
    outputs, _ = fn.functionalize(module).apply(params, state, *inputs)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
