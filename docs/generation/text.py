"""Write the site as one text, ``llms.txt``, in the order in which people read it.

Pages are Markdown with what their code shows; the reference is signatures and docstrings as they are in the package.
"""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from docs.generation.names import PublicName, public_names

__all__ = ["as_text", "reading_order"]

HEAD = """# funcnet {version}

The whole documentation as one text: learn, coming from other libraries, how-to, guides, reference, how it works. What
code showed when it was run is in the `text` block that follows it.
"""

MOST_LINES = 80
"""Of one output."""

TREE = re.compile(r"^(`{3,}|:{3,})\{toctree\}\n(.*?)^\1\s*$", re.M | re.S)


def as_text(pages: Mapping[str, bytes], version: str) -> str:
    """Make one text of executed pages and the public names.

    Args:
        pages: what the pages hold, by path, as `execute_all` returns them.
        version: the package's.
    """
    parts = [HEAD.format(version=version)]
    for name in reading_order(pages):
        if name.startswith("reference/"):
            parts.append("# Reference\n\n" + "\n\n".join(_entry(n) for n in public_names()))
        elif name.endswith(".ipynb"):
            parts.append(_of_notebook(json.loads(pages[name])))
        else:
            parts.append(_prose(pages[name].decode()))
    return "\n\n\n".join(part.strip() for part in parts) + "\n"


def reading_order(pages: Mapping[str, bytes]) -> list[str]:
    """List the pages by walking the tables of contents, from the front page; the reference is its index alone."""
    places = {str(PurePosixPath(name).with_suffix("")): name for name in pages if _is_page(name)}
    found: dict[str, None] = {}

    def walk(place: str) -> None:
        if place not in places or places[place] in found:
            return
        found[places[place]] = None
        if place.startswith("reference/"):
            return
        for entry in _children(place, _toctrees(pages[places[place]]), places):
            walk(entry)

    walk("index")
    return list(found)


def _is_page(name: str) -> bool:
    return name.endswith((".md", ".ipynb", ".rst"))


def _toctrees(content: bytes) -> list[str]:
    text = content.decode()
    if text.startswith("{"):  # a notebook
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    lines = [line.strip() for _, block in TREE.findall(text) for line in block.splitlines()]
    return [line for line in lines if line and line[0] != ":"]


def _children(place: str, entries: Iterable[str], places: Mapping[str, str]) -> Iterable[str]:
    folder = PurePosixPath(place).parent
    for entry in entries:
        titled = re.search(r"<(.+)>$", entry)
        entry = re.sub(r"\.(md|ipynb|rst)$", "", titled[1] if titled else entry)
        if "*" in entry:
            yield from sorted(p for p in places if PurePosixPath(p).match(str(folder / entry)))
        else:
            yield str(folder / entry)


def _of_notebook(notebook: Mapping[str, Any]) -> str:
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        tags = cell["metadata"].get("tags", ())
        if cell["cell_type"] == "markdown":
            parts.append(_prose(source))
        elif cell["cell_type"] == "code" and "remove-cell" not in tags:
            parts.append(_fenced(source, "python"))
            if shown := _shown(cell["outputs"]):
                parts.append(_fenced(shown, "text"))
    return "\n\n".join(part for part in parts if part)


def _shown(outputs: Iterable[Mapping[str, Any]]) -> str:
    lines: list[str] = []
    for output in outputs:
        data = output.get("data", {})
        if output["output_type"] == "error":
            lines.append(f"{output['ename']}: {output['evalue']}")
        elif output["output_type"] == "stream" and output["name"] == "stdout":
            lines += "".join(output["text"]).splitlines()
        elif any(kind.startswith("image/") for kind in data):
            lines.append("[a picture]")
        elif "text/plain" in data:
            lines += "".join(data["text/plain"]).splitlines()
    kept = lines[:MOST_LINES]
    return "\n".join([*kept, "..."] if len(kept) < len(lines) else kept)


def _fenced(text: str, language: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def _prose(text: str) -> str:
    """Take from Markdown what is for the site alone: front matter, contents, boxes, addresses of pages."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = TREE.sub("", text)
    text = re.sub(r"^\s*(:{3,})\s*$|^\([\w-]+\)=\s*$|^\s*</?div[^>]*>\s*$", "", text, flags=re.M)
    text = re.sub(r"^\s*:{3,}\{[\w-]+\}[ \t]*(.*)$", r"\1", text, flags=re.M)
    text = re.sub(r"\{[a-z:]+\}`(?:([^`<]*?)\s*<([^`>]+)>|([^`]+))`", _of_role, text)
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)", r"[picture: \1]", text)
    text = re.sub(r"\[([^\]]+)\]\((?!https?:)[^()\s]*\)", r"\1", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _of_role(match: re.Match) -> str:
    return f"`{match[3] or match[1] or match[2]}`"


def _entry(name: PublicName) -> str:
    """Show a public name: how it is called, and its docstring; of a class also its public methods."""
    parts = [f"## {name.short}"]
    if callable(name.value):
        parts.append(f"```python\n{name.short}{_signature(name.value)}\n```")
    parts.append(_docstring(name.value))
    if inspect.isclass(name.value):
        parts += [_method(name.short, key, value) for key, value in vars(name.value).items()]
    return "\n\n".join(part for part in parts if part)


def _method(owner: str, key: str, value: Any) -> str:
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if key.startswith("_") or not (inspect.isfunction(function) and inspect.getdoc(function)):
        return ""
    return f"`{owner.rpartition('.')[2]}.{key}{_signature(function)}`\n\n{_docstring(function)}"


def _docstring(value: Any) -> str:
    if not (inspect.isclass(value) or callable(value)):
        return ""
    return (inspect.getdoc(value) or "").replace("``", "`")


def _signature(value: Any) -> str:
    try:
        said = str(inspect.signature(value))
    except (TypeError, ValueError):
        return "(...)"
    said = re.sub(r"<function (\w+) at 0x\w+>|<object object at 0x\w+>", r"\1", said)
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", said)
