"""The one idea: descriptions that become pure functions and plain parameter pytrees."""

from funcnet.module.binding.bind import bind
from funcnet.module.binding.unbind import unbind, update_state
from funcnet.module.functional_call import functional_call
from funcnet.module.functionalize import Functional, functionalize
from funcnet.module.module import Module
from funcnet.module.observe import capture, intervene
from funcnet.module.precision.mixed_precision import mixed_precision
from funcnet.module.regularization.manifold_mixup import ManifoldMixup, manifold_mixup
from funcnet.module.regularization.penalty import penalty
from funcnet.module.specs import Buffer, Parameter
from funcnet.module.state_dict import load_state_dict, state_dict
from funcnet.module.summaries.memory_profile import (
    CompiledMemory,
    HeldValue,
    MemoryProfile,
    profile_memory,
)
from funcnet.module.summaries.operations import (
    OperationCount,
    OperationRow,
    count_operations,
)
from funcnet.module.summaries.summary import summary
from funcnet.module.summaries.table import Summary, SummaryRow

__all__ = [
    "Buffer",
    "CompiledMemory",
    "Functional",
    "HeldValue",
    "ManifoldMixup",
    "MemoryProfile",
    "Module",
    "OperationCount",
    "OperationRow",
    "Parameter",
    "Summary",
    "SummaryRow",
    "bind",
    "capture",
    "count_operations",
    "functional_call",
    "functionalize",
    "intervene",
    "load_state_dict",
    "manifold_mixup",
    "mixed_precision",
    "penalty",
    "profile_memory",
    "state_dict",
    "summary",
    "unbind",
    "update_state",
]
