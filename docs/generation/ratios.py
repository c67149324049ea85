"""Measured ratios on pages, made of ``benchmarks/results/*.json``: ``python -m docs.generation.ratios``.

A page has a pair of comments, ``<!-- NAME -->`` and ``<!-- end of NAME -->``; what lies between them is written here. A
test holds that what is committed is what the committed results make.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import results_pages
from benchmarks.gpu import ROWS
from benchmarks.results_pages import RESULTS, TITLES, described, read
from docs.generation.assemble import ROOT

__all__ = ["BLOCKS", "PAGES", "filled"]

PAGES = ("README.md", "docs/index.md", "docs/how_it_works/numbers.md")
"""Pages with blocks."""

COLUMNS = {
    "JAX by hand": ("JAX", "raw JAX", "hand-written JAX"),
    "Flax NNX": ("Flax NNX", "Flax NNX, Optax"),
    "Equinox": ("Equinox", "Equinox, Optax"),
    "PyTorch": ("torch", "PyTorch", "torch foreach"),
}
"""Columns of the first table, and what benchmarks call that side."""

WAYS = {"channels last": "`channels_last=True`", "packed": "`optim.packed`"}
"""Other ways of ours that have a row of their own, and what one writes."""

STEPS = tuple(sorted(path.stem for path in RESULTS.glob("models*.json")))
"""Files of whole training steps: a slow row may have one of its own."""

FURTHER = (
    ("optimizers", "AdamW, 100 leaves", "funcnet", "optax", "Optax"),
    ("optimizers", "AdamW, one leaf", "funcnet", "torch foreach", "PyTorch, foreach"),
    ("loading", "a thousand samples in memory", "ours", "PyTorch", "PyTorch's `DataLoader`"),
    ("loading", "512 samples, 2 ms of Python each", "two", "torch", "PyTorch, 2 processes"),
    ("flex_attention", "1024 causal, 44 % empty, forward and", "blocks", "plain", "the formula"),
    ("transforms", "training step, donated", "nan_guard", "plain", "the step without it"),
)
"""Rows of the second table: the benchmark, how the title begins, our side, the other, what it is called."""

NAMES = {
    "two": "funcnet, 2 processes",
    "nan_guard": "under `fn.nan_guard`",
    "blocks": "`F.flex_attention` by blocks",
}
"""What our side is, where the benchmark's title does not say it."""

GPU = ("gpt2", "resnet50", "lstm_step", "deep", "attention", "cross_entropy", "layer_norm", "gru")
"""Rows of the table of GPUs."""

CARDS = {"H100": "gpu-nvidia-h100-80gb-hbm3", "H200": "gpu-nvidia-h200"}


def steps() -> str:
    """Lay out whole training steps, and the way to the first one, beside other libraries."""
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'--:|' * len(COLUMNS)}"]
    for name in STEPS:
        for table in read(name)["tables"]:
            lines.append(_row(table["title"], table))
            for way, written in WAYS.items():
                if f"funcnet, {way}" in table["sides"]:
                    lines.append(_row(f"{table['title']}, {written}", table, f", {way}"))
    *_, overhead = read("step_overhead")["tables"]
    lines.append(_row(overhead["title"], overhead))
    for table in read("start")["tables"]:
        lines.append(_row(f"From the start {table['title']}", table))
    (imports,) = read("import_time")["tables"]
    lines.append(_row("Import, beyond JAX's own", imports, ours="a model and Adam"))
    return "\n".join(lines)


def further() -> str:
    """Lay out single things, each beside one other."""
    lines = ["| | beside | ratio |", "|---|---|--:|"]
    for benchmark, begins, ours, theirs, called in FURTHER:
        table = next(t for t in read(benchmark)["tables"] if t["title"].startswith(begins))
        title = _upper(table["title"])
        shown = f"{title}: {NAMES[ours]}" if ours in NAMES else f"{title}{_way(ours)}"
        lines.append(f"| {shown} | {called} | {_ratio(table['sides'], ours, theirs)} |")
    return "\n".join(lines)


def gpu() -> str:
    """Lay out rows of GPUs, beside the better of PyTorch and ``torch.compile``."""
    cards = {card: read(name) for card, name in CARDS.items()}
    lines = [
        f"| forward and backward; bfloat16 where nothing else is said | {' | '.join(cards)} |",
        "|---|--:|--:|",
    ]
    for row in GPU:
        cells = [_of_torch(content["rows"][row]) for content in cards.values()]
        lines.append(f"| {ROWS[row].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def front() -> str:
    """Make the front page's tables."""
    return "\n\n".join([*_steps_with_words(), further(), *_gpu_with_words()])


def short() -> str:
    """Make the README's tables."""
    return "\n\n".join([*_steps_with_words(), *_gpu_with_words()])


def everything() -> str:
    """Lay out all results that there are, each with its command."""
    order = {name: place for place, name in enumerate(TITLES)}
    made = results_pages.pages()
    names = sorted(made, key=lambda p: (order.get(p.stem, 99), p.stem))
    return "\n\n".join(_section(path, made[path]) for path in names)


BLOCKS: dict[str, Callable[[], str]] = {
    "ratios": front,
    "short ratios": short,
    "results": everything,
}
"""What makes each block."""


def filled(text: str) -> str:
    """Write every block of a page anew."""
    for name, make in BLOCKS.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        if re.search(pattern, text, re.DOTALL):
            block = f"\n{make()}\n\n"
            text = re.sub(
                pattern,
                lambda found, block=block: found[1] + block + found[2],
                text,
                flags=re.DOTALL,
            )
    return text


def _steps_with_words() -> Iterable[str]:
    yield "Time of a training step here, divided by its time there: **below 1, funcnet is quicker**. Float32 on a CPU."
    yield steps()
    yield _where(read("models"))


def _gpu_with_words() -> Iterable[str]:
    yield "On GPUs, the quickest form of each side, PyTorch's with `torch.compile` and without:"
    yield gpu()
    contents = [read(name) for name in CARDS.values()]
    dates = sorted({content["date"] for content in contents})
    machine = contents[0]["machine"]
    yield f"Measured {', '.join(dates)}; JAX {machine['jax']}, PyTorch {machine['torch'].split('+')[0]}."


def _where(content: dict[str, Any]) -> str:
    said = described(content, ("jax", "torch", "flax", "equinox"))
    return (
        f"Measured {said} The sides take turns in one process; the last two rows start fresh ones. "
        "Few rounds on a busy machine: differences of a quarter may be noise."
    )


def _row(title: str, table: dict[str, Any], way: str = "", ours: str = "funcnet") -> str:
    """Compare ours, in one of its ways, with the same way of the others, where there is one."""
    sides, cells = table["sides"], []
    for names in COLUMNS.values():
        there = next((n for n in (*(name + way for name in names), *names) if n in sides), None)
        cells.append("" if there is None else _ratio(sides, ours + way, there))
    return f"| {title} | {' | '.join(cells)} |"


def _ratio(sides: dict[str, Any], ours: str, theirs: str) -> str:
    ratio = sides[ours]["value"] / sides[theirs]["value"]
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.1g}"


def _of_torch(sides: dict[str, Any]) -> str:
    times = [line["ms"] for name, line in sides.items() if "torch" in name and "ms" in line]
    ours = min(line["ms"] for name, line in sides.items() if "torch" not in name and "ms" in line)
    return f"{ours / min(times):.2f}"


def _way(ours: str) -> str:
    _, _, way = ours.partition("funcnet, ")
    return f": {way}" if way else f": {ours}" if ours.startswith("nn.") else ""


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _section(path: Path, text: str) -> str:
    return re.sub(r"^# ", "## ", text.strip(), flags=re.MULTILINE)


def main() -> None:
    """Write the results' own pages, then the blocks."""
    results_pages.main()
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path.read_text()))


if __name__ == "__main__":
    main()
