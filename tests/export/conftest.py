"""Flags of XLA that this process has read, and what a test starts or loads may not know."""

import os

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def flags_that_every_xla_knows():
    """Leave the flags that tests/conftest.py adds to this process: another XLA ends at one that it does not know."""
    jax.devices()
    given = os.environ["XLA_FLAGS"]
    os.environ["XLA_FLAGS"] = given.partition(" --xla_cpu_use_fusion_emitters")[0]
    yield
    os.environ["XLA_FLAGS"] = given
