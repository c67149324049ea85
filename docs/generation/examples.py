"""Make a page of each example: what its file says of itself, and the file."""

import ast
import re

from docs.generation.repository import ROOT, highlighted

__all__ = ["pages"]

INDEX = """# Examples

Each is one file to copy: it trains on real data, prints what it reached and whether that is good, saves a picture, and
ends with the command that goes on from there. `pip install -e ".[examples]"` brings what they need to draw.

{table}

[Reference models](../../examples/models/README.md) are ResNet, ViT, GPT-2, Llama, BERT, an LSTM and U-Net to copy; they
take the weights of PyTorch and Hugging Face. [Jobs on a cluster](../../examples/cluster/README.md) has the scripts for
SLURM, Kubernetes and MPI.

```{{toctree}}
:hidden:

{names}
models
cluster
```
"""

COMMAND = re.compile(r"(\w+=\S+ )*python ")


def pages() -> dict[str, str]:
    """Make the pages, by path."""
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem[0] != "_")
    found = {f"examples/{name}.md": _page(name) for name in names}
    found["examples/index.md"] = INDEX.format(table=_table(), names="\n".join(names))
    return found


def _table() -> str:
    """Take the README's table of examples."""
    rows = re.findall(r"^\|.*\|$", (ROOT / "README.md").read_text(), re.M)
    listed = [row for row in rows if re.match(r"\| \[\w+\.py\]\(examples/\w+\.py\) \|", row)]
    if not listed:
        raise LookupError(
            "README.md has no table of examples: | [mnist.py](examples/mnist.py) | ... |"
        )
    head = rows.index(listed[0])
    return "\n".join([*rows[head - 2 : head], *listed]).replace("](examples/", "](../../examples/")


def _page(name: str) -> str:
    path = f"examples/{name}.py"
    said = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return f"# {name}.py\n\n{_prose(said)}\n\n{highlighted(path)}"


def _prose(said: str) -> str:
    """Show a docstring's commands as code."""
    blocks = [
        f"```sh\n{block}\n```" if COMMAND.match(block) else block for block in said.split("\n\n")
    ]
    return "\n\n".join(blocks)
