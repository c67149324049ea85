"""What the oldest and the newest Python do not do alike."""

import ast
import re

import pytest

from tests.meta.source import FILES

POSSESSIVE = re.compile(r"(?<!\\)[*+?}]\+|\(\?>")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_patterns_have_no_possessive_quantifiers(path):
    """Python 3.11.0 to 3.11.2 match with them what does not match; they give wrong rows, not errors."""
    tree = ast.parse(path.read_text())
    if not any(isinstance(n, ast.Import) and n.names[0].name == "re" for n in ast.walk(tree)):
        return
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    texts = [t.decode("latin1") if isinstance(t, bytes) else t for t in texts]
    assert not [t for t in texts if isinstance(t, str) and POSSESSIVE.search(t)]
