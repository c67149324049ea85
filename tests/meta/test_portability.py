"""What the oldest and the newest Python do not do alike."""

import ast
import re

import pytest

from tests.meta.source import FILES, name_of, tree

POSSESSIVE = re.compile(r"(?<!\\)[*+?}]\+|\(\?>")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_patterns_have_no_possessive_quantifiers(path):
    """Python 3.11.0 to 3.11.2 match with them what does not match; they give wrong rows, not errors."""
    nodes = [*ast.walk(tree(path))]
    if not any(isinstance(node, ast.Import) and node.names[0].name == "re" for node in nodes):
        return
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    texts = [t.decode("latin1") if isinstance(t, bytes) else t for t in texts]
    assert not [t for t in texts if isinstance(t, str) and POSSESSIVE.search(t)]
