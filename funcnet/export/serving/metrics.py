"""What a server did, in numbers, as Prometheus reads them.

Reference: https://prometheus.io/docs/instrumenting/exposition_formats
"""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

__all__: list[str] = []

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """Values by function, counted in buckets."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self.name, self._meaning, self._bounds = name, meaning, bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()

    def add(self, function: str, value: float) -> None:
        """Count a value."""
        counts = self._counts.setdefault(function, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[function] += value  # pyright: ignore[reportArgumentType] - a counter of seconds

    def lines(self) -> Iterator[str]:
        """Write the lines of its page."""
        yield f"# HELP {self.name} {self._meaning}"
        yield f"# TYPE {self.name} histogram"
        for function, counts in self._counts.items():
            total = 0
            for bound, count in zip([*map(str, self._bounds), "+Inf"], counts, strict=True):
                total += count
                yield f'{self.name}_bucket{{function={json.dumps(function)},le="{bound}"}} {total}'
            yield f"{self.name}_sum{{function={json.dumps(function)}}} {self._sums[function]}"
            yield f"{self.name}_count{{function={json.dumps(function)}}} {total}"


class ServerMetrics:
    """All numbers of a server; touched by its event loop alone."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds = Histogram("funcnet_request_seconds", "From arrival to answer.", _SECONDS)
        self.batch_sizes = Histogram(
            "funcnet_batch_rows", "Rows that were computed together.", _ROWS
        )
        self.gauges: dict[str, tuple[str, str, Callable[[], float]]] = {}

    def page(self) -> str:
        """Write the page."""
        lines = [
            "# HELP funcnet_requests_total Requests answered.",
            "# TYPE funcnet_requests_total counter",
        ]
        lines += [
            f'funcnet_requests_total{{function={json.dumps(function)},status="{status}"}} {count}'
            for (function, status), count in self.requests.items()
        ]
        lines += [*self.seconds.lines(), *self.batch_sizes.lines()]
        for name, (kind, meaning, read) in self.gauges.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name} {read()}"]
        return "\n".join(lines) + "\n"
