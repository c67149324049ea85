"""Flexible attention, forward and backward: `python -m benchmarks.flex_attention [length ...]`.

By blocks of a block mask, known or counted as the program runs, against the plain formula and
`scaled_dot_product_attention`; ratios of processor time, so that a machine that others use tells the same.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.interleave import interleave, table
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import functional as F

SHAPES = {256: (4, 4, 32), 512: (2, 4, 64), 1024: (1, 4, 64), 2048: (1, 2, 64)}
"""Examples, heads and features, by length."""

ROUNDS = 4


def masks(length: int) -> dict[str, tuple[Any, Any]]:
    """Return masks and scores by name."""
    ids = jnp.sort(jax.random.randint(jax.random.key(1), (length,), 0, 5))
    return {
        "causal": (F.causal_mask, None),
        "window": (F.sliding_window_mask(length // 4), None),
        "documents": (F.and_masks(F.causal_mask, F.document_mask(ids)), None),
        "causal, soft cap": (F.causal_mask, F.soft_cap_score(20.0)),
        "nothing empty": (F.noop_mask, None),
    }


def compare(length: int, name: str, mask: Any, score: Any, results: ResultsFile) -> None:
    batch, heads, features = SHAPES[length]
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = [jax.random.normal(key, (batch, heads, length, features)) for key in keys]

    def listed() -> F.BlockMask:
        return F.create_block_mask(mask, None, None, length, length)

    known, dense = listed(), F.create_mask(mask, None, None, length, length)
    forms: dict[str, Callable[..., Any]] = {
        "plain": lambda *x: F.flex_attention(*x[:3], score, known, implementation="plain"),
        "blocks": lambda *x: F.flex_attention(*x[:3], score, known, implementation="blocks"),
        "blocks, counted": lambda *x: F.flex_attention(*x[:3], score, listed()),
    }
    if score is None:
        forms["sdpa, mask"] = lambda *x: F.scaled_dot_product_attention(*x)
    if name == "causal":
        forms["sdpa, causal"] = lambda *x: F.scaled_dot_product_attention(*x[:3], is_causal=True)
    sides: dict[str, dict[str, Callable[[], Any]]] = {"forward": {}, "forward and backward": {}}
    memory: dict[str, dict[str, float]] = {title: {} for title in sides}
    for form, attend in forms.items():

        def both(query: Any, key: Any, value: Any, mask: Any, attend: Any = attend) -> Any:
            output, pull = jax.vjp(lambda *x: attend(*x, mask), query, key, value)
            return output, pull(output)

        for title, function in (("forward", attend), ("forward and backward", both)):
            run = jax.jit(function).lower(*arrays, dense).compile()
            memory[title][form] = run.memory_analysis().temp_size_in_bytes / 2**20
            sides[title][form] = lambda run=run: jax.block_until_ready(run(*arrays, dense))
    for title, runs in sides.items():
        medians = interleave(runs, rounds=ROUNDS, clock=time.process_time)
        heading = f"{length} {name}, {known.sparsity():.0f} % empty, {title}"
        print(table(heading, medians, "plain", memory[title]), flush=True)
        results.add(heading, medians, "plain", mebibytes=memory[title])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lengths", nargs="*", type=int, help=f"of {list(SHAPES)}; default: all")
    parser.add_argument("--only", nargs="+", metavar="MASK", help="some masks; default: all")
    add_json_argument(parser)
    args = parser.parse_args()
    results = ResultsFile(args.json, "flex_attention", "processor time")
    for length in args.lengths or SHAPES:
        for name, (mask, score) in masks(length).items():
            if args.only is None or name in args.only:
                compare(length, name, mask, score, results)


if __name__ == "__main__":
    main()
