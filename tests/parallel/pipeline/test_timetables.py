"""Timetables: every microbatch forward and backward on every stage, in an order that messages allow."""

from itertools import product

import numpy as np
import pytest

from funcnet import parallel
from funcnet.parallel.pipeline.timetables import SCHEDULES, make_timetable

SIZES = list(product(SCHEDULES, (1, 2, 3, 4, 8), (1, 2, 3, 4, 7, 16)))


def ticks(table, stage):
    """When a stage runs each microbatch."""
    at = np.flatnonzero(table[:, stage] >= 0)
    order = table[at, stage]
    assert order.tolist() == list(range(len(order)))  # each once, in order
    return at


@pytest.mark.parametrize(("schedule", "stages", "microbatches"), SIZES)
def test_what_is_sent_is_used_in_the_tick_after(schedule, stages, microbatches):
    table = make_timetable(schedule, stages, microbatches)
    forward = [ticks(table.forward, stage) for stage in range(stages)]
    backward = [ticks(table.backward, stage) for stage in range(stages)]
    assert {len(at) for at in (*forward, *backward)} == {microbatches}
    for stage in range(stages - 1):
        np.testing.assert_array_equal(forward[stage + 1], forward[stage] + 1)
        np.testing.assert_array_equal(backward[stage], backward[stage + 1] + 1)
    assert (backward[-1] >= forward[-1]).all()


@pytest.mark.parametrize(("schedule", "stages", "microbatches"), SIZES)
def test_a_place_is_free_before_it_is_used_again(schedule, stages, microbatches):
    table = make_timetable(schedule, stages, microbatches)
    for stage in range(stages):
        held = {}
        for run, pull in zip(table.forward[:, stage], table.backward[:, stage], strict=True):
            if run >= 0:
                assert run % table.kept not in held
                held[run % table.kept] = run
            if pull >= 0:
                assert held.pop(pull % table.kept) == pull
        assert not held


@pytest.mark.parametrize(("stages", "microbatches"), [(2, 8), (4, 4), (4, 32)])
def test_memory_and_time_are_those_of_the_papers(stages, microbatches):
    table = make_timetable("1f1b", stages, microbatches)
    assert table.kept == stages
    assert not ((table.forward >= 0) & (table.backward >= 0)).any()  # one pass in a tick
    idle = ((table.forward < 0) & (table.backward < 0)).mean()
    assert idle == pytest.approx(parallel.bubble_fraction(stages, microbatches))
    eager = make_timetable("eager-1f1b", stages, microbatches)
    assert eager.kept == min(2 * stages - 1, microbatches)
    assert len(eager.forward) == microbatches + 2 * (stages - 1)


def test_what_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match="'1f1b', 'eager-1f1b'"):
        make_timetable("interleaved", 2, 2)
    with pytest.raises(ValueError, match="microbatches must be greater than zero"):
        parallel.bubble_fraction(2, 0)
