"""What a benchmark measured, as a file: ``--json FILE`` of each benchmark writes one.

A file says what was measured, when, on what and by which command, so that tables and pages are made of it and no number
is ever typed: ``python -m benchmarks.results_pages`` lays out those of ``benchmarks/results``.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["ResultsFile", "add_json_argument"]

LIBRARIES = ("jax", "numpy", "torch", "flax", "equinox", "optax", "grain", "onnxruntime")
"""Their versions are written down where they are installed."""


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Give a command line the option ``--json FILE``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")


class ResultsFile:
    """The results of one run; the file is written anew after every table.

    Args:
        path: where it goes; None writes nothing.
        benchmark: the module's name, without ``benchmarks.``.
        clock: what was measured, such as ``"wall clock"``.
    """

    def __init__(self, path: Path | None, benchmark: str, clock: str) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "benchmark": benchmark,
            "command": _command(benchmark),
            "date": date.today().isoformat(),
            "clock": clock,
            "machine": _machine(),
            "versions": _versions(),
            "tables": [],
        }

    def add(
        self,
        title: str,
        values: Mapping[str, float],
        reference: str,
        *,
        unit: str = "ms",
        mebibytes: Mapping[str, float] | None = None,
    ) -> None:
        """Keep one table and write the file.

        Args:
            title: what was computed.
            values: seconds by side, or other numbers if ``unit`` is not ``"ms"``.
            reference: the side that ratios are to.
            unit: of the values; seconds are written as milliseconds.
            mebibytes: memory by side, where it was measured.
        """
        factor = 1e3 if unit == "ms" else 1.0
        sides = {
            side: {
                "value": _short(value * factor),
                "ratio": _short(value / values[reference]),
                **(
                    {"mebibytes": _short(mebibytes[side])}
                    if mebibytes and side in mebibytes
                    else {}
                ),
            }
            for side, value in values.items()
        }
        table = {"title": title, "unit": unit, "reference": reference, "sides": sides}
        self.content["tables"].append(table)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.content, indent=1) + "\n")


def _command(benchmark: str) -> str:
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word == "--json":
            next(words, None)
        else:
            kept.append(f'"{word}"' if " " in word else word)
    return " ".join(["python -m", f"benchmarks.{benchmark}", *kept])


def _machine() -> dict[str, Any]:
    """Describe the processor in general words, and how busy it is before anything is measured."""
    lines = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    said = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
    found = {key.strip(): value.strip() for key, value in said.items()}
    name = found.get("model name", platform.machine()).split("@")[0].strip()
    vectors = [w for w in ("avx512f", "avx2") if w in found.get("flags", "").split()][:1]
    return {
        "processor": ", ".join(
            [name, *({"avx512f": "AVX-512", "avx2": "AVX2"}[v] for v in vectors)]
        ),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _short(value: float) -> float:
    """Keep four digits: more is noise."""
    return float(f"{value:.4g}")
