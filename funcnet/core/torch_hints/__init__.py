"""What to write instead: PyTorch's names that funcnet or JAX do not have, met where they are typed.

The tables hold the sentences, by whose attribute was asked for: `objects`, and the packages by topic. Packages make
their ``__getattr__`` and ``__dir__`` of them (`package_attributes`), modules, `Functional` and optimizers their
``__getattr__`` (`missing_attribute`), constructors their refusal of keywords (`refused_keyword`), and a bound module
adds a note to what JAX itself says about a tensor's methods (`note_for`).
"""

from funcnet.core.torch_hints.messages import (
    KEYWORDS,
    instead_of,
    method,
    missing_attribute,
    missing_name,
    note_for,
    package_attributes,
    public_names,
    refused_keyword,
)

__all__ = [
    "KEYWORDS",
    "instead_of",
    "missing_attribute",
    "method",
    "missing_name",
    "note_for",
    "package_attributes",
    "public_names",
    "refused_keyword",
]
