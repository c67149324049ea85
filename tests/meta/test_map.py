"""ARCHITECTURE.md is right: every file that it links exists and holds what the link names."""

import re

import pytest

from tests.meta.source import ROOT

pytestmark = pytest.mark.smoke

TEXT = (ROOT / "ARCHITECTURE.md").read_text()
LINKS = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", TEXT)


@pytest.mark.parametrize(("name", "target"), LINKS, ids=str)
def test_links_lead_to_what_they_name(name, target):
    path = ROOT / target
    assert path.exists()
    if name.startswith("`"):
        defined = rf"^(class|def|    class|    def) {name.strip('`')}\b"
        assert re.search(defined, path.read_text(), re.MULTILINE), f"{name} is not in {target}"


def test_every_folder_has_its_rank_on_the_map():
    for folder in sorted(path.name for path in (ROOT / "funcnet").iterdir() if path.is_dir()):
        if folder != "__pycache__":
            assert f"`{folder}/`" in TEXT, f"ARCHITECTURE.md does not say what {folder}/ is"


def test_hooks_are_declared():
    from funcnet.module.functionalize import Functional
    from funcnet.module.module import Module
    from funcnet.module.specs import Spec

    assert {"part_names", "infer_shapes", "extra_repr", "computes_in"} <= vars(Module).keys()
    assert {"drawn_with", "trained"} <= vars(Spec).keys()
    assert "observable" in vars(Functional)
