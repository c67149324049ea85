"""The signatures of init and apply, for type checkers."""

from typing import Any, Protocol

from funcnet.core.aliases import Key, Params, State

__all__ = ["Apply", "Init"]


class Init(Protocol):
    """What `Functional.init` is: see `PureModule.init`."""

    def __call__(self, key: Key, /, *inputs: Any, **kwargs: Any) -> tuple[Params, State]:
        """Draw initial params and state."""
        ...


class Apply(Protocol):
    """What `Functional.apply` is: see `PureModule.apply`.

    The arguments of the module's own call are ``Any`` here: Python's typing can hand on the parameters of
    another function (``ParamSpec``), but not with keywords of one's own, ``key`` and ``train``, beside them.
    A keyword that neither has raises ``TypeError`` when it is called.
    """

    def __call__(
        self,
        params: Params,
        state: State,
        /,
        *args: Any,
        key: Key | None = None,
        train: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, State]:
        """Compute output and new state."""
        ...
