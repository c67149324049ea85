"""Write the dictionary's pages: one for each group of PyTorch's packages, and one that counts and leads to them."""

from collections import Counter

from docs.generation.dictionary.packages import PAGES, Package, Page
from docs.generation.dictionary.rows import KINDS, Row, rows
from docs.generation.dictionary.torch_names import torch_version

__all__ = ["pages"]

MERGED = 4
"""From how many names on one sentence stands once for all of them."""


_LAYERS = (
    "Arguments, defaults and results are PyTorch's where nothing else is said. Nothing takes `device=` or "
    "`inplace=`: a "
    "device belongs to arrays, and arrays are immutable. The `dtype=` of a layer is float32 by default."
)
_AXIS = "Where PyTorch has `dim=` and `keepdim=`, JAX has `axis=` and `keepdims=`."
NOTES = {
    "nn": _LAYERS,
    "functional": _LAYERS + " What is random takes `key=`.",
    "optim": "An optimizer is made without parameters, which go to its `init` and `update`; a schedule without an "
    "optimizer: it "
    "is given in place of a number. The whole update is one program: there is no `foreach=`, `fused=`, `capturable=` "
    "or "
    "`differentiable=`.",
    "functions": _AXIS,
    "tensor": f"{_AXIS} Arrays are immutable, and no method ends in `_`.",
    "mathematics": _AXIS,
}
"""What goes for a whole page."""


def pages() -> dict[str, str]:
    """Make the pages, by path."""
    found = {f"coming_from/dictionary/{page.file}.md": _page(page) for page in PAGES}
    return found | {"coming_from/dictionary/index.md": _index()}


def _index() -> str:
    total = sum(len(rows(package)) for page in PAGES for package in page.packages)
    lines = [
        "# PyTorch's names",
        "",
        f"What the {total:,} public names of PyTorch {torch_version()} are called here, what JAX has for them, or why "
        "they are not needed; parts of PyTorch's own compilers and back ends are left out. The sentences are those of "
        "funcnet's errors: `nn.utils.clip_grad_norm_` says in a program what it says here.",
        "",
        "| PyTorch | names | of which |",
        "|---|---:|---|",
    ]
    for page in PAGES:
        counts = Counter(row.kind for package in page.packages for row in rows(package))
        told = ", ".join(f"{counts[kind]} {KINDS[kind]}" for kind in KINDS if counts[kind])
        lines.append(f"| [{page.title}]({page.file}.md) | {counts.total()} | {told} |")
    listed = "\n".join(page.file for page in PAGES)
    lines += ["", "```{toctree}", ":hidden:", "", listed, "```", ""]
    return "\n".join(lines)


def _page(page: Page) -> str:
    lines = [f"# {page.title}", ""]
    if page.file in NOTES:
        lines += [NOTES[page.file], ""]
    for package in page.packages:
        if len(page.packages) > 1 and package.name != page.title:
            lines += [f"## {package.name}", ""]
        lines += [*_table(package), ""]
    return "\n".join(lines)


def _table(package: Package) -> list[str]:
    lines = [
        "```{table}",
        ":class: names",
        "",
        f"| {package.name} | funcnet |",
        "|---|---|",
    ]
    texts: dict[str, list[Row]] = {}
    for row in rows(package):
        texts.setdefault(row.markdown(_here(package, row)), []).append(row)
    for text, said in sorted(texts.items(), key=lambda item: item[1][0].name):
        if len(said) < MERGED:
            lines += [f"| {_name(package, row)} | {text} |" for row in said]
        else:
            lines.append(f"| {', '.join(_name(package, row) for row in said)} | {text} |")
    return [*lines, "```"]


def _name(package: Package, row: Row) -> str:
    return f"`{row.name}`"


def _here(package: Package, row: Row) -> str:
    short = (
        package.asked.removeprefix("funcnet.").replace("funcnet", "fn").replace("functional", "F")
    )
    return f"{short}.{row.name}"
