"""Two processes with two devices each load together what one process loads alone."""

import json

import pytest

from tests.data.devices.loading_child import SOURCES
from tests.several_processes import run_together


def test_two_processes_load_what_one_does(tmp_path):
    expected = {}
    for source, make in SOURCES.items():
        loader = make()
        batches = iter(loader)
        first = next(batches)["i"].tolist()
        (tmp_path / f"{source}.json").write_text(json.dumps(loader.state_dict()))
        expected[source] = [first, *(batch["i"].tolist() for batch in batches)]
    run_together("tests.data.devices.loading_child", 2, 2, tmp_path, tmp_path)
    seen = [json.loads((tmp_path / f"seen-{process}.json").read_text()) for process in range(2)]
    for source, (first, second, third) in expected.items():
        (left, state), (right, other) = (one[source] for one in seen)
        assert state == other
        loader = SOURCES[source]()
        loader.load_state_dict(state)
        assert [first, left + right, *(batch["i"].tolist() for batch in loader)] == [
            first,
            second,
            third,
        ]


@pytest.mark.parametrize("word", ["host", "processes"])
def test_other_words_for_a_shard_are_refused(word):
    with pytest.raises(ValueError, match='"process" or the sharding of batches'):
        SOURCES["dataset"](shard=word)
