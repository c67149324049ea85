"""``python -m funcnet.export web DIR``: write a page that runs a model."""

import argparse
import sys
from pathlib import Path

from funcnet.export.web.page import web

__all__: list[str] = []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", help="where index.html is written")
    parser.add_argument("--model", required=True, help="an .onnx file of one file")
    parser.add_argument("--kind", choices=["digit", "text"], default="digit")
    parser.add_argument("--title")
    parser.add_argument("--labels", help="what the scores are of, separated by commas")
    parser.add_argument("--pixels", help="what stands for paper and for ink, such as 0,1")
    parser.add_argument("--output", choices=["logits", "probabilities"], default="logits")
    parser.add_argument("--vocabulary", help="a file with the characters of all tokens, in order")
    parser.add_argument("--context", type=int, help="how many tokens the model looks back")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--no-webgpu", action="store_true", help="a smaller page")
    parser.add_argument("--beside", action="store_true", help="the runtime in a file of its own")
    parser.add_argument("--runtime", help="the folder of npm's onnxruntime-web")


def run(asked: argparse.Namespace) -> int:
    """Write the page and tell where it is."""
    vocabulary = asked.vocabulary and Path(asked.vocabulary).read_text(encoding="utf-8")
    try:
        page = web(
            asked.directory,
            asked.model,
            asked.kind,
            title=asked.title,
            pixels=_two_numbers(asked.pixels),
            output=asked.output,
            vocabulary=vocabulary,
            context=asked.context,
            prompt=asked.prompt,
            webgpu=not asked.no_webgpu,
            inline=not asked.beside,
            runtime=asked.runtime,
            **({"labels": asked.labels.split(",")} if asked.labels else {}),
        )
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{page} ({page.stat().st_size / 1e6:.1f} MB)\n")
    return 0


def _two_numbers(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        paper, ink = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"--pixels takes two numbers, such as 0,1; got {text!r}") from None
    return paper, ink
