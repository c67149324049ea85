"""Rows of cells as lines of text, names to the left, numbers to the right; or as HTML for notebooks."""

import html
from collections.abc import Iterable, Sequence

__all__ = ["html_table", "readable_count", "text_table"]


def text_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()
) -> str:
    """Lay out a table with a rule above and below its rows.

    Args:
        heads: names of the columns.
        rows: of as many cells.
        numbers: the columns whose cells stand to the right.

    Example:
        >>> from funcnet.module.summaries.text_table import text_table
        >>> print(text_table(("layer", "bytes"), [("0", "12"), ("1", "7")], ("bytes",)))
        layer  bytes
        ────────────
        0         12
        1          7
        ────────────
    """
    table = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(heads))]
    sides = [">" if head in numbers else "<" for head in heads]
    lines = [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in table
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:], rule])


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]], total: str = "") -> str:
    """Lay out a table for a notebook.

    Example:
        >>> from funcnet.module.summaries.text_table import html_table
        >>> html_table(("layer", "bytes"), [("a<b", "12")], "in all 12")
        '<table><tr><th>layer</th><th>bytes</th></tr><tr><td>a&lt;b</td><td>12</td></tr></table><p>in all 12</p>'
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line(cells, "td") for cells in rows)
    end = f"<p>{html.escape(total)}</p>" if total else ""
    return f"<table>{line(heads, 'th')}{body}</table>{end}"


def readable_count(number: float) -> str:
    """Return a number in full, or with three digits and a letter.

    Example:
        >>> from funcnet.module.summaries.text_table import readable_count
        >>> readable_count(1234), readable_count(1_234_567)
        ('1,234', '1.23 M')
    """
    if number < 10_000:
        return f"{number:,}"
    for letter in "kMGT":
        number /= 1000
        if number < 999.5:
            return f"{number:.3g} {letter}"
    return f"{number / 1000:,.3g} P"
