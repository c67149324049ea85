"""The quick run leaves out a part of each generated product; ``--grid=full`` runs it whole."""

import pytest

__all__ = ["is_whole", "sampled"]


def is_whole(config: pytest.Config) -> bool:
    """Say whether products are run whole."""
    return config.getoption("grid") == "full"


def sampled(request: pytest.FixtureRequest, kept: bool = False) -> None:
    """Skip what the quick run leaves out: what is not ``kept``."""
    if not kept and not is_whole(request.config):
        pytest.skip("a sample of the product; all with --grid=full")
