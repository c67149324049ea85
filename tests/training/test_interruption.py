"""Signals between steps."""

import signal

import pytest

from funcnet import parallel
from funcnet.parallel.launch import steps
from funcnet.training.loop.interruption import Interruption


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


@pytest.fixture
def place(monkeypatch):
    """A process that has not called `alive`, with SIGTERM as programs find it."""
    new = steps.JobPlace()
    monkeypatch.setattr(steps, "THIS_PROCESS", new)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield new
    signal.signal(signal.SIGTERM, before)


def test_a_loop_by_hand_around_fits_hears_what_ended_them(place):
    with (
        Interruption() as one
    ):  # before the loop calls alive, which is not to keep it from the signal
        one.agree(0)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert parallel.alive(0)
    with Interruption() as one:
        one.agree(0)
        signal.raise_signal(signal.SIGTERM)
        assert one.requested
        assert not place.terminated
    assert not parallel.alive(1)


@pytest.mark.parametrize(("quiet", "longest", "ends"), [
    (1, 0, False), (70, 0, True), (70, 20, False), (300, 20, True),
])  # fmt: skip
def test_sigterm_ends_a_process_whose_loop_is_over(place, monkeypatch, quiet, longest, ends):
    assert parallel.alive(0)
    raised = []
    monkeypatch.setattr(steps.signal, "raise_signal", raised.append)
    place.seen -= quiet
    place.longest = longest
    steps.note_termination(signal.SIGTERM, None)
    assert raised == [signal.SIGTERM] * ends
    steps.note_termination(signal.SIGTERM, None)  # the second one
    assert raised
