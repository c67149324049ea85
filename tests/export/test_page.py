"""docs/guides/export.md: its code runs as printed, what it names is there, and the format is as it says."""

import json
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import export, nn
from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "export.md").read_text()

NEEDS = {
    "export.onnx(": ("onnx", "onnxruntime"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "export.tensorflow(": ("tensorflow",),
    "export.litert(": ("tensorflow", "ai_edge_litert"),
    "import tensorflow": ("tensorflow",),
    "from ai_edge_litert": ("tensorflow", "ai_edge_litert"),
}


QUIET = "import warnings; warnings.simplefilter('ignore')"


def runs_here(block):
    needed = [name for word, names in NEEDS.items() if word in block for name in names]
    return all(map(find_spec, needed))


def test_the_code_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    script = "\n".join(filter(runs_here, blocks))
    # what TensorFlow warns of, once it is imported, is none of the page's
    script = script.replace("import tensorflow", f"{QUIET}\nimport tensorflow", 1)
    printed = run_script(script, tmp_path, PYTHONPATH=str(ROOT))
    assert "call(image: float32[batch, 1, 28, 28]) -> output: float32[batch, 10]" in printed
    assert "qr: " in printed  # the preflight
    assert "A branch on a length that is left open" in printed


def test_what_the_page_names_exists():
    for name in sorted(set(re.findall(r"export\.(\w+)\(", PAGE)) - {"export"}):
        assert hasattr(export, name) or name == "Dim", name
    for path in sorted(set(re.findall(r"\]\(([\w/.]+)\)", PAGE))):
        assert (ROOT / "docs" / "guides" / path).exists(), path
    header = (ROOT / "funcnet/export/native/sources/funcnet.h").read_text()
    for name in sorted(set(re.findall(r"\b(fn_\w+)\(", PAGE))):
        assert name in header, name


def keys(value, place=""):
    """Every key of a JSON object, with its place; of lists the first part."""
    if isinstance(value, dict):
        return {f"{place}{k}" for k in value}.union(
            *(keys(v, f"{place}{k}.") for k, v in value.items())
        )
    return keys(value[0], place) if isinstance(value, list) and value else set()


def test_the_manifest_is_as_the_page_shows_it(tmp_path):
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    shown = json.loads(block)
    net = fn.functionalize(nn.Linear(3, 2))
    path = export.save(
        tmp_path / "m.fnx",
        net,
        *net.init(jax.random.key(0)),
        export.spec(("batch", 3), jnp.float32, "image"),
    )
    with zipfile.ZipFile(path) as file:
        written = json.loads(file.read("manifest.json"))
        assert {each.compress_type for each in file.infolist()} == {zipfile.ZIP_STORED}
    skipped = ("metadata", "trees", "files", "written_by")
    for name in skipped:
        assert name in shown
        assert name in written
    fixed = [{k: v for k, v in each.items() if k not in skipped} for each in (shown, written)]
    ours, theirs = map(keys, fixed)
    assert {each for each in ours if ".trees" not in each} == {
        each for each in theirs if ".trees" not in each
    }
