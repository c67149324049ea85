"""The recipe of docs/guides/export_iree.md works: its own code is run, on artifacts of models."""

import re
from pathlib import Path

import numpy as np
import pytest

from funcnet import export
from tests.export.cases import CASES
from tests.export.compilers.together import installed

pytestmark = pytest.mark.skipif(
    not installed("iree.compiler", "iree.runtime"), reason='needs IREE: pip install "funcnet[iree]"'
)

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "export_iree.md"
EXAMPLES = ("gpt2", "llama", "bert", "vit", "resnet", "unet", "lstm_lm")
SAMPLE = {"lstm_lm", "mlp"}
SIZE = 3


def blocks():
    """The page's programs, in order: compile, run."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def targets():
    """The arguments of each target in the page's table."""
    rows = re.findall(r"^\| (\w+) \| (`--.*?`) \|", PAGE.read_text(), re.M)
    return {name: re.findall(r"--[\w=.,+-]+", arguments) for name, arguments in rows}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, request):
    """Save a model once; a fixture of a function that does."""
    made = {}

    def save(name):
        if name not in SAMPLE and request.config.getoption("--grid") != "full":
            pytest.skip("two of the models; all with --grid=full")
        if name not in made:
            folder, model = tmp_path_factory.mktemp(name), CASES[name].model()
            entries = {"call": model.entries["call"]}
            sizes = [{"batch": SIZE}]
            made[name] = folder, model
            export.save(folder / "model.fnx", entries, model.params, model.state, sizes=sizes)
        return made[name]

    return save


@pytest.mark.parametrize("name", [*EXAMPLES, "mlp", "mnist"])
def test_the_page_runs_and_agrees_with_jax(artifact, name, monkeypatch):
    folder, model = artifact(name)
    monkeypatch.chdir(folder)
    space = {}
    for block in blocks():
        exec(block.replace('{"batch": 1}', f'{{"batch": {SIZE}}}'), space)
    found = space["call"](*map(np.asarray, model.example("call", SIZE)))
    for got, ours in zip(found, model.reference("call", SIZE), strict=True):
        assert (got.dtype, got.shape) == (ours.dtype, ours.shape)
        # float32: sums run in another order
        assert np.abs(got - ours).max() <= 1e-5 * np.abs(ours).max()


@pytest.mark.parametrize("name", [*EXAMPLES, "mlp"])
@pytest.mark.parametrize("target", ["Vulkan", "Metal", "WebAssembly", "anything"])
def test_every_target_compiles(artifact, name, target, monkeypatch):
    import iree.compiler

    folder, _ = artifact(name)
    monkeypatch.chdir(folder)
    space, (first, *_) = {}, blocks()
    before, _, _ = first.partition("compiled =")
    exec(before.replace('{"batch": 1}', f'{{"batch": {SIZE}}}'), space)
    made = iree.compiler.compile_str(
        space["code"], input_type="stablehlo", extra_args=targets()[target]
    )
    assert len(made) > 1000
