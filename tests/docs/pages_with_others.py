"""Run a page's code from the top: cells that are ours, and fences of another library between them."""

import re

BLOCK = re.compile(r"^```(\{code-cell\} python|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text):
    """Pairs of ``"ours"`` or ``"theirs"`` and code, in order."""
    for kind, code in BLOCK.findall(text):
        raises = ":tags: [raises-exception]" in code
        lines = [line for line in code.splitlines() if not line.startswith(":tags:")]
        if not raises:
            yield ("theirs" if kind == "python" else "ours"), "\n".join(lines)


def run(text, theirs_too=True, known=None):
    """Execute a page.

    Our cells see what our cells made; their fences see that too, below what their fences made.

    Args:
        text: of the page.
        theirs_too: run the other library's fences.
        known: names for their fences.

    Returns:
        The names of our cells, and those of their fences.
    """
    ours, theirs = {"__name__": "page"}, dict(known or {})
    for number, (kind, code) in enumerate(blocks(text)):
        compiled = compile(code, f"block {number}", "exec")
        if kind == "ours":
            exec(compiled, ours)
        elif theirs_too:
            seen = {**ours, **theirs}
            before = dict(seen)
            exec(compiled, seen)
            theirs |= {name: x for name, x in seen.items() if before.get(name) is not x}
    return ours, theirs
