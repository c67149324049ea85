"""What a node becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Replacement"]


@dataclass(frozen=True)
class Replacement:
    """The operator that a node is from now on; its outputs stay what they were."""

    op_type: str
    inputs: Sequence[str]
    attributes: Mapping[str, Any] = field(default_factory=dict)
