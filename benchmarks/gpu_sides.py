"""What the rows of `benchmarks.gpu` share: one side's work, prepared to be timed, in either library."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TURN_SECONDS, MOST_IN_FLIGHT, TURNS = 0.03, 50, 9


@dataclass(frozen=True)
class Work:
    """Compiled work of one side: `launch` starts it, `wait` blocks until all of it is done."""

    launch: Callable[[], object]
    wait: Callable[[], object]
    gibibytes: Callable[[], float | None]


@dataclass(frozen=True)
class Row:
    """One line of a table: each side makes its work, at full size or tiny."""

    title: str
    sides: dict[str, Callable[[bool], Work]]


def milliseconds(work: Work) -> float:
    """Time one launch: the median over turns, each of which has several launches in flight and waits once."""
    for _ in range(3):
        work.launch()
    work.wait()
    count = min(MOST_IN_FLIGHT, max(1, int(TURN_SECONDS / max(1e-6, _turn(work, 2)))))
    return 1e3 * statistics.median(_turn(work, count) for _ in range(TURNS))


def _turn(work: Work, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        work.launch()
    work.wait()
    return (time.perf_counter() - started) / count


def jax_work(function: Callable[..., Any], *arguments: Any, carries: bool = False) -> Work:
    """Compile a function; one that carries is given its first result instead of its first argument next time."""
    import jax

    donated = (0,) if carries else ()
    # no copies of what is donated: the caller keeps nothing
    compiled = jax.jit(function, donate_argnums=donated).lower(*arguments).compile()
    first, rest = arguments[0], arguments[1:]
    held: list[Any] = [first if carries else None, None]

    def launch() -> None:
        if carries:
            held[0], held[1] = compiled(held[0], *rest)
        else:
            held[1] = compiled(*arguments)

    return Work(launch, lambda: jax.block_until_ready(held[1]), lambda: _needed(compiled))


def _needed(compiled: Any) -> float | None:
    """All that the program needs at once: arguments, results that are no arguments, and temporary arrays."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return None
    total = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    return (total - sizes.alias_size_in_bytes) / 2**30


def torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_work(launch: Callable[[], object], alone: bool = True) -> Work:
    """Call once, which compiles what is to be compiled; memory is known where no other work has its arrays there."""
    import torch

    launch()
    on_gpu = torch_device() == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    wait()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()

    def gibibytes() -> float | None:
        return torch.cuda.max_memory_allocated() / 2**30 if on_gpu and alone else None

    return Work(launch, wait, gibibytes)


def quiet_settings() -> None:
    """Set what every process of the benchmark needs, before it imports JAX or PyTorch."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
