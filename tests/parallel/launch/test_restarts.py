"""A job that is killed starts again from its checkpoint, with fewer processes, and one that is stopped saves."""

import argparse
import os
import re
import sys

import numpy as np
import pytest

from funcnet import parallel
from tests.parallel.launch.jobs import PROGRAM, run_job
from tests.parallel.launch.program import train

JOB = ["--processes", "2", "--devices-per-process", "2"]


def loss_in(text):
    return float(re.search(r"loss ([\d.]+)", text)[1])


def test_a_restart_with_fewer_processes_reaches_the_same_loss(tmp_path, capsys):
    options = argparse.Namespace(fault="none", at=-1, rank=0, steps=12, folder=None)
    train(options, parallel.start())  # four devices of one process, without an end
    whole = loss_in(capsys.readouterr().out)

    launcher = [
        *JOB,
        "--restarts",
        "1",
        "--min-processes",
        "1",
        "--log-dir",
        str(tmp_path / "logs"),
    ]
    folder = ["--folder", str(tmp_path / "run"), "--at", "8"]
    ended = run_job(*launcher, PROGRAM, "killed", *folder)
    assert ended.code == 0, ended
    assert "process 1 of 2 was ended by SIGKILL" in ended.err
    assert "launcher: restart 1 of 1, with 1 process" in ended.err
    assert "[0] begins at step 6" in ended.out
    assert "on 2 devices" in ended.out
    # float32: sums over two devices instead of four, in another order
    np.testing.assert_allclose(loss_in(ended.out), whole, rtol=1e-5)

    logs = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert logs == [f"attempt-{name}.log" for name in ("0-process-0", "0-process-1", "1-process-0")]
    assert "ended by SIGKILL" in (tmp_path / "logs" / logs[1]).read_text()
    assert "begins at step 6" in (tmp_path / "logs" / logs[2]).read_text()


def check_one_step(ended):
    steps = re.findall(r"\[(\d)\] stops at step (\d+)", ended.out)
    assert sorted(process for process, _ in steps) == ["0", "1"], ended
    assert len({step for _, step in steps}) == 1, steps
    assert "[0] has saved" in ended.out
    assert "left by" not in ended.err


def test_ctrl_c_stops_all_processes_at_one_step():
    ended = run_job(*JOB, PROGRAM, "interrupted", "--steps", "1000")
    assert ended.code == 130, ended
    check_one_step(ended)


def test_sigterm_to_one_process_stops_all_at_one_step(request):
    if request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: much like Ctrl-C")
    ended = run_job(*JOB, PROGRAM, "terminated", "--steps", "1000")
    assert ended.code == os.EX_TEMPFAIL, ended
    check_one_step(ended)


def test_a_process_alone_joins_nothing_and_stops_at_sigterm():
    command = [sys.executable, PROGRAM, "terminated", "--rank", "0", "--steps", "1000"]
    ended = run_job(commands=[command])
    assert ended.codes == [os.EX_TEMPFAIL], ended
    # the kernel may give the signal to another thread, which tells Python a little later
    assert 7 <= int(re.search(r"stops at step (\d+)", ended.out)[1]) < 1000
