"""What XLA's own settings for CPUs bring to whole training steps: ``python -m benchmarks.cpu_flags``.

Each side is funcnet's step of `benchmarks.models`, compiled with one setting changed; they take turns in one process,
and the ratio to the defaults is what counts. Losses are printed too: some settings change numbers.

    python -m benchmarks.cpu_flags --only cnn lstm gpt --rounds 15
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax

import funcnet as fn
from benchmarks import models_funcnet
from benchmarks.interleave import interleave, table
from benchmarks.models import TITLES
from benchmarks.models_data import SHAPES, batch

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "oneDNN": {"xla_cpu_use_onednn": True, "xla_cpu_experimental_onednn_custom_call": True},
    "XNNPACK": {"xla_cpu_use_xnnpack": True},
    "no YNNPACK fusions": {"xla_cpu_experimental_ynn_fusion_type": ""},
    "one thread a product": {"xla_cpu_multi_thread_eigen": False},
    "vectors of 512 bits": {"xla_cpu_prefer_vector_width": 512},
    "vectors of 128 bits": {"xla_cpu_prefer_vector_width": 128},
    "fast math": {"xla_cpu_enable_fast_math": True},
    "platform's math": {"xla_cpu_enable_platform_dependent_math": True},
    "scheduled for concurrency": {"xla_cpu_enable_concurrency_optimized_scheduler": True},
    "not scheduled for it": {"xla_cpu_enable_concurrency_optimized_scheduler": False},
    "LLVM level 2": {"xla_backend_optimization_level": 2},
}


def side(row: str, settings: dict[str, Any]) -> Callable[[], object]:
    """Build funcnet's step of a row, compiled with some settings."""
    run, _ = models_funcnet.make(row, *batch(row), settings=settings)
    return run


def main() -> None:
    """Print a table for each row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=["cnn", "lstm", "gpt"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--processor", action="store_true", help="the processor's time")
    args = parser.parse_args()
    fn.keep_memory()
    print(f"JAX {jax.__version__}")
    for row in args.only:
        sides, losses = {}, []
        for name, settings in SETTINGS.items():
            try:
                sides[name] = side(row, settings)
                losses.append(f"{name} {float(sides[name]()):.6f}")  # pyright: ignore
            except Exception as error:
                sides.pop(name, None)
                print(f"  {name}: left out ({str(error).splitlines()[0][:100]})")
        print(f"first losses: {', '.join(losses)}")
        clock = time.process_time if args.processor else time.perf_counter
        print(table(TITLES[row], interleave(sides, rounds=args.rounds, clock=clock), "defaults"))


if __name__ == "__main__":
    main()
