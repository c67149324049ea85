"""Weights that are computed from other parameters, under the names of ``torch.nn.utils.parametrize``."""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.nn.wrappers.register_parametrization import (
    ParametrizationList,
    register_parametrization,
)
from funcnet.nn.wrappers.remove_parametrizations import (
    is_parametrized,
    remove_parametrizations,
    type_before_parametrizations,
)

__all__ = [
    "ParametrizationList",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "type_before_parametrizations",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
