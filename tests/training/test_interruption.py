"""Signals between steps."""

import signal

import pytest

from funcnet.training.interruption import Interruption


@pytest.fixture
def ended():
    """SIGTERM as Python has it, except that it is noted instead of ending the tests."""
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)


def interruption(ended):
    made = Interruption()
    made.usual[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)
    return made


def test_sigterm_waits_for_the_end_of_the_block_and_then_ends(ended):
    steps = 0
    with interruption(ended) as one:
        for step in range(5):
            steps += 1
            if step == 2:
                signal.raise_signal(signal.SIGTERM)
            one.agree(step)
            if one.requested:
                break
        assert ended == []
    assert steps == 3
    assert ended == [signal.SIGTERM]


def test_a_second_ctrl_c_ends_at_once(ended):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruption(ended) as one:
            signal.raise_signal(signal.SIGINT)
            assert one.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == []


def test_a_signal_that_somebody_else_handles_is_theirs(ended):
    with Interruption() as one:
        signal.raise_signal(signal.SIGTERM)
        one.agree(0)
        assert not one.requested
    assert ended == [signal.SIGTERM]
