"""web: a page of one file that runs a model."""

import base64
import gzip
import html
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from funcnet.core.files import as_path, write_atomically
from funcnet.export.web.described import asset, digit_settings, read_model, text_settings
from funcnet.export.web.runtime import WebRuntime, find_runtime

__all__ = ["web"]

_DIGITS = tuple("0123456789")
_LEADS = {
    "digit": "Draw one, and a small neural network reads it while you draw.",
    "text": "Write a beginning, and a small neural network goes on, character by character.",
}
_TITLES = {"digit": "Which digit is it?", "text": "How does it go on?"}
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:{beside}; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""Nothing is loaded from anywhere, and nothing sent."""


def web(
    directory: str | os.PathLike[str],
    onnx_file: str | os.PathLike[str],
    kind: Literal["digit", "text"] = "digit",
    *,
    title: str | None = None,
    lead: str | None = None,
    labels: Sequence[str] = _DIGITS,
    pixels: tuple[float, float] | None = None,
    output: Literal["logits", "probabilities"] = "logits",
    samples: Any = None,
    vocabulary: Sequence[str] | None = None,
    context: int | None = None,
    prompt: str = "",
    webgpu: bool = True,
    inline: bool = True,
    runtime: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a page that runs a model in the browser, from a disk or a server, without a network.

    The page is one file, ``index.html``: model and runtime (ONNX Runtime Web) are in it. It runs by WebGPU where there
    is one, else by WebAssembly. A page of digits takes a model of one image of 28 x 28 pixels; the first output has a
    score for each label, and a further output of the image's shape is shown as what moved the answer. A page of text
    takes tokens ``(batch, time)`` and shows and samples the next ones.

    Args:
        directory: where the page is written; made if it is missing.
        onnx_file: the model, as `onnx` writes it, in one file.
        kind: what the page is for.
        title: of the page.
        lead: the sentence below it.
        labels: of a page of digits: what the scores are of.
        pixels: what the model takes for paper and for ink, between which it is interpolated; by default ``(0, 1)``,
            and ``(0, 255)`` for uint8.
        output: whether the scores are logits or probabilities already.
        samples: images ``(count, 28, 28)`` of bytes, ink 255, that visitors may choose instead of drawing.
        vocabulary: of a page of text: the character of each token, in order.
        context: how many tokens the model looks back; needed where the file leaves that length open.
        prompt: what stands there at first.
        webgpu: False leaves WebGPU out, which makes the page smaller (5 MB and the model instead of 9).
        inline: False puts the runtime beside the page, as ``runtime.js``, which several pages may share.
        runtime: the folder of npm's ``onnxruntime-web``; by default it is looked for in ``node_modules`` here and
            above, and else fetched by npm into a cache.

    Returns:
        The path of the page.

    Raises:
        ExportError: the model is none that such a page can feed; nothing is written then.
        FileNotFoundError: there is no such model, or no runtime and no npm; the message says what to run.
        ImportError: the package ``onnx`` is not installed.
        ValueError: an argument does not suit.

    Example:
        >>> fn.export.web("page", "missing.onnx", kind="digit")
        Traceback (most recent call last):
        FileNotFoundError: there is no file missing.onnx: write it with export.onnx

    Reference: https://onnxruntime.ai/docs/tutorials/web
    """
    folder = as_path(directory)
    if kind not in _LEADS:
        raise ValueError(f"kind is one of {', '.join(_LEADS)}; got {kind!r}")
    model = read_model(onnx_file)
    if kind == "digit":
        image_dtype = model.inputs[0].dtype if model.inputs else ""
        between = pixels or ((0.0, 255.0) if image_dtype == "uint8" else (0.0, 1.0))
        settings = digit_settings(model, labels, between, output)
    else:
        settings = text_settings(model, _characters(vocabulary), context)
        settings["prompt"] = _known(prompt, settings["vocabulary"])
    found = find_runtime(runtime, webgpu)
    settings |= {"webgpu": webgpu, "bytes": len(model.content)}
    held = {"model": model.content} | ({"samples": _images(samples)} if samples is not None else {})
    scripts = [_packed(held, "packed"), *([_runtime_script(found)] if inline else [])]
    if not inline:
        write_atomically(folder / "runtime.js", _runtime_script(found).encode())
    words = (title or _TITLES[kind], lead or _LEADS[kind])
    text = _page(kind, words, settings, scripts, found.version, inline)
    return write_atomically(folder / "index.html", text.encode())


def _characters(vocabulary: Sequence[str] | None) -> list[str]:
    if not vocabulary:
        raise ValueError("a page of text needs vocabulary=, the character of each token in order")
    wrong = [each for each in vocabulary if not isinstance(each, str) or not each]
    if wrong or len(set(vocabulary)) != len(vocabulary):
        raise ValueError("vocabulary= is a text, or a list of texts, in which nothing stands twice")
    return list(vocabulary)


def _known(prompt: str, vocabulary: Sequence[str]) -> str:
    unknown = sorted(set(prompt) - set("".join(vocabulary)))
    if unknown:
        raise ValueError(f"the prompt has characters that the model does not know: {unknown}")
    return prompt


def _images(samples: Any) -> bytes:
    images = np.asarray(samples)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"samples= takes bytes (count, 28, 28); got {images.dtype} of shape {images.shape}"
        )
    return images.tobytes()


def _packed(contents: Mapping[str, bytes], name: str) -> str:
    """Write bytes as a script: zipped, in letters that end no element."""
    letters = {
        key: base64.b64encode(gzip.compress(each, 6, mtime=0)).decode()
        for key, each in contents.items()
    }
    return f"const {name} = {json.dumps(letters)};"


@lru_cache(maxsize=2)  # zipping it takes seconds
def _runtime_script(found: WebRuntime) -> str:
    held = _packed({"code": found.code.read_bytes(), "wasm": found.wasm.read_bytes()}, "parts")
    return f"{{ {held} Object.assign(packed, parts); }}"


def _page(
    kind: str,
    words: tuple[str, str],
    settings: Mapping[str, Any],
    scripts: Sequence[str],
    version: str,
    inline: bool,
) -> str:
    parts = [f"const settings = {_script_json(settings)};", *scripts]
    tags = [f"<script>{part}</script>" for part in parts]
    tags += [] if inline else ['<script src="runtime.js"></script>']
    tags += [f"<script>\n{asset(name)}</script>" for name in ("engine.js", f"{kind}.js")]
    title, lead = map(html.escape, words)
    filled = {
        "policy": _POLICY.format(beside="" if inline else " 'self' file:"),
        "title": title,
        "lead": lead,
        "style": asset("page.css"),
        "content": asset(f"{kind}.html"),
        "version": html.escape(version),
        "scripts": "\n".join(tags),
    }
    text = asset("page.html")
    return "".join(filled.get(part, part) for part in text.split("@"))


def _script_json(value: Any) -> str:
    """Spell JSON so that nothing in it ends the element that it stands in."""
    return json.dumps(value).replace("<", "\\u003c")
