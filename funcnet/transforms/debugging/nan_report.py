"""What `nan_guard` reports: which operation made the first value that is not finite, and where."""

from dataclasses import dataclass

__all__ = ["Blame", "Site"]


@dataclass(frozen=True)
class Site:
    """One operation of a traced function.

    Attributes:
        operation: JAX's name of it.
        path: the innermost ``jax.named_scope`` around it: of a funcnet model, the module's path.
        backward: whether it belongs to the backward pass.
        source: the user's line that asked for it.

    Example:
        >>> blames = []
        >>> guarded = transforms.jit(transforms.nan_guard(lambda x: 1 / x, blames.append))
        >>> _ = guarded(jnp.zeros(2)), jax.effects_barrier()
        >>> blames[0].site.operation, blames[0].site.backward
        ('div', False)
    """

    operation: str
    path: str
    backward: bool
    source: str


@dataclass(frozen=True)
class Blame:
    """The first value of a step that was not finite.

    Attributes:
        kind: ``"NaN"`` or ``"infinity"``.
        site: where it was made; ``None`` if it was an argument, or was not found again.
        argument: the path of the argument that was not finite to begin with, or ``""``.
        turn: the turn of the innermost loop around the site, or ``None``.
        step: the step that ``nan_guard`` was told to report, or ``None``.
        note: why there is no site.

    Example:
        >>> blames = []
        >>> guarded = transforms.jit(transforms.nan_guard(jnp.log, blames.append))
        >>> _ = guarded(jnp.array([1.0, -1.0])), jax.effects_barrier()
        >>> blames[0].kind, blames[0].argument, blames[0].site.operation
        ('NaN', '', 'log')
    """

    kind: str
    site: Site | None
    argument: str = ""
    turn: int | None = None
    step: int | None = None
    note: str = "run again by single operations, all was finite"

    def __str__(self) -> str:
        """Say it in one line."""
        at = "" if self.step is None else f" at step {self.step}"
        if self.argument:
            return f"{self.kind}{at}: the argument {self.argument} already held it"
        if self.site is None:
            return f"{self.kind} in the output{at}: {self.note}"
        where = "backward" if self.site.backward else "forward"
        inside = f" in {self.site.path}" if self.site.path else ""
        turn = "" if self.turn is None else f", turn {self.turn} of the loop"
        return (
            f"{self.kind}{at}: first made by `{self.site.operation}`{inside}, {where} pass{turn}, "
            f"{self.site.source}"
        )
