"""The protocol of the directory: what is hidden is swept, except while somebody writes."""

import os
import time

import pytest

from funcnet.checkpoint import Checkpointer
from funcnet.checkpoint.runs import directory as protocol
from funcnet.checkpoint.runs.directory import (
    commit_step,
    held,
    hidden_folder,
    new_token,
    remove_step,
    step_folder,
    sweep_hidden,
)


def make(path, text):
    path.mkdir()
    (path / "file").write_text(text)


def left(directory):
    return {
        path.name.partition("-")[0]: (path / "file").read_text() for path in directory.iterdir()
    }


@pytest.mark.parametrize("purpose", ["writing", "removed", "replaced"])
def test_what_is_hidden_is_swept(tmp_path, purpose):
    make(step_folder(tmp_path, 1), "whole")
    make(hidden_folder(tmp_path, purpose, 1, new_token()), "hidden")
    sweep_hidden(tmp_path)
    assert left(tmp_path) == {"step": "whole"}


def test_a_step_that_was_about_to_be_replaced_comes_back(tmp_path):
    make(hidden_folder(tmp_path, "replaced", 1, new_token()), "old")
    make(hidden_folder(tmp_path, "writing", 1, new_token() + "-1"), "new")
    sweep_hidden(tmp_path)
    assert left(tmp_path) == {"step": "old"}


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_crash_while_a_step_is_replaced_leaves_the_old_or_the_new(
    tmp_path, monkeypatch, fails_at
):
    make(step_folder(tmp_path, 1), "old")
    written = hidden_folder(tmp_path, "writing", 1, new_token())
    make(written, "new")
    calls, rename, remove = [], protocol.Path.rename, protocol.shutil.rmtree

    def crashing(function):
        def call(*arguments):
            calls.append(arguments)
            if len(calls) == fails_at:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(protocol.Path, "rename", crashing(rename))
        patched.setattr(protocol.shutil, "rmtree", crashing(remove))
        with pytest.raises(KeyboardInterrupt):
            commit_step(tmp_path, written, 1)
    sweep_hidden(tmp_path)
    assert left(tmp_path) == {"step": "new" if fails_at == 3 else "old"}


def test_nothing_is_swept_while_somebody_writes(tmp_path):
    hidden = hidden_folder(tmp_path, "writing", 1, new_token())
    make(hidden, "on its way")
    with held(tmp_path), held(tmp_path):
        sweep_hidden(tmp_path)
        Checkpointer(tmp_path)
        assert hidden.exists()
    sweep_hidden(tmp_path)
    assert not hidden.exists()


def test_where_a_system_has_no_locks_age_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "fcntl", None)
    old, new = (hidden_folder(tmp_path, "writing", step, new_token()) for step in (1, 2))
    make(old, "old")
    make(new, "new")
    past = time.time() - 2 * 24 * 3600
    os.utime(old, (past, past))
    with held(tmp_path):
        sweep_hidden(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_a_step_that_another_process_removed_is_no_error(tmp_path):
    remove_step(tmp_path, 5)
    assert [*tmp_path.iterdir()] == []
