"""Lay out the results that are committed as Markdown: ``python -m benchmarks.results_pages``.

Each ``benchmarks/results/NAME.json`` that a benchmark wrote with ``--json`` becomes ``NAME.md`` beside it; a test holds
that they agree. Benchmarks that write their Markdown themselves are left alone.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import gpu

__all__ = ["RESULTS", "described", "number", "pages", "read"]

RESULTS = Path(__file__).parent / "results"

TITLES = {
    "models": "Whole training steps on a CPU",
    "step_overhead": "What a step costs beyond JAX by hand",
    "optimizers": "Whole AdamW updates",
    "loading": "Loading data",
    "start": "From `python train.py` to the end of the first step",
    "import_time": "What `import funcnet` adds to `import jax`",
    "transforms": "Transforms in time and memory",
    "compile_time": "Compiling deep models",
    "repeat": "Repeated blocks, kept and computed again",
    "attention": "Forms of attention",
    "flex_attention": "Flexible attention",
    "export": "What a call costs, by way out of Python",
}
"""Headings, by benchmark, in the order in which they are shown."""

NOTES = {
    "models": "Every side trains the same model with AdamW on the same batch in float32.",
    "step_overhead": "Deep stacks of small linear layers, where nothing but overhead takes time.",
    "optimizers": "The gradients are given; a step updates moments and parameters, in place or donated.",
    "start": "Each turn is a fresh process without a cache of compiled programs: imports, init, the first step, and "
    "its compilation.",
    "import_time": "Each turn is a fresh process, with bytecode written before.",
    "repeat": "The first side is the unrolled stack; the others are `nn.Repeat` by their `remat=`. MiB are temporary "
    "arrays of the compiled step.",
    "flex_attention": "MiB are temporary arrays of the compiled function.",
    "attention": "Titles are batch, heads, heads of keys, length and features. MiB are temporary arrays.",
    "export": "Every side holds the same weights, and its outputs were compared with PyTorch's first. On CPUs XLA's "
    "convolutions are slow, so that a convolutional network which is to run on a CPU is better served by ONNX "
    "Runtime; nothing is lost on the way out.",
}
"""What a reader has to know of how it was measured."""


def read(name: str) -> dict[str, Any]:
    """Read the results of one benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def number(value: float) -> str:
    """Show three digits, or all of the whole part."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if value < 10 else 1}f}" if value >= 0.1 else f"{value:.2g}"


def described(content: dict[str, Any], libraries: Iterable[str] | None = None) -> str:
    """Say in a line when, on what and with what it was measured, and what else ran there.

    Args:
        content: of a file of results.
        libraries: whose versions to name; all by default.
    """
    machine, found = content["machine"], content["versions"]
    versions = ", ".join(f"{name} {found[name]}" for name in libraries or found)
    cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
    beside = (
        f"; other programs used the machine (load {machine['load']} before it began)"
        if machine["load"] > 0.5
        else ""
    )
    return f"{content['date']}, {cores} of {machine['processor']}{beside}; {content['clock']}; {versions}."


def pages() -> dict[Path, str]:
    """Make the Markdown of all results, by file."""
    found = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        text = _gpu_page(content) if path.stem.startswith("gpu-") else _page(content)
        found[path.with_suffix(".md")] = text
    return found


def _page(content: dict[str, Any]) -> str:
    name = content["benchmark"]
    memory = any("mebibytes" in side for t in content["tables"] for side in t["sides"].values())
    lines = [f"# {TITLES[name]}", "", f"`{content['command']}`", "", described(content), ""]
    if name in NOTES:
        lines += [NOTES[name], ""]
    unit = content["tables"][0]["unit"]
    lines.append(f"| what | side | {unit} | {'MiB | ' * memory}ratio |")
    lines.append(f"|---|---|--:|{'--:|' * memory}--:|")
    for table in content["tables"]:
        lines += _rows(table, memory)
    return "\n".join(lines) + "\n"


def _rows(table: dict[str, Any], memory: bool) -> Iterable[str]:
    for name, side in table["sides"].items():
        own = f"{number(side['mebibytes'])} | " if "mebibytes" in side else "| "
        ratio = "1" if name == table["reference"] else f"{side['ratio']:.2f}"
        shown = f"{number(side['value'])} | {own if memory else ''}{ratio}"
        yield f"| {table['title']} | {name} | {shown} |"


def _gpu_page(content: dict[str, Any]) -> str:
    report = gpu.Report(None, list(gpu.ROWS), tiny=False)
    report.date, report.machine, report.found = content["date"], content["machine"], content["rows"]
    return report.table()


def main() -> None:
    """Write them."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
