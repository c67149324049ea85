"""The launcher's pieces: what is printed, which failure was the first, and the command line."""

import io
import os

import pytest

from funcnet.parallel.launch.failure import ProcessFailure, Verdict, is_consequence, of_exit
from funcnet.parallel.launch.job import parse_options
from funcnet.parallel.launch.output import ProcessOutput

GLOO = (
    "[Gloo] Rank 0 is connected to 3 peer ranks. Expected number of connected peer ranks is : 3\n"
)
RUNTIME = "E1127 03:34:24.492047   17117 coordination_service_agent.cc:289] Polled an error\n"


@pytest.fixture
def output():
    """A pipe, what the launcher shows of it, and the log."""
    reading, writing = os.pipe()
    shown, log = io.StringIO(), io.BytesIO()
    stream = ProcessOutput(os.fdopen(reading, "rb"), 3, shown, log)
    yield stream, writing, shown, log
    stream.finish(keep=False)
    os.close(writing)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (["one\ntwo\n"], "[3] one\n[3] two\n"),
        (["on", "e\n"], "[3] one\n"),
        (["1%\r2%\r", "3%\n"], "[3] 1%\n[3] 2%\n[3] 3%\n"),
        (["sum ", GLOO, "4.0\n"], "[3] sum 4.0\n"),
        (["sum " + GLOO + "4.0\n"], "[3] sum 4.0\n"),
        (["[Gloo] Rank [Gloo] Rank " + GLOO[13:] + "1" + GLOO[14:], "a\n"], "[3] a\n"),
        (["no end"], "[3] no end\n"),
    ],
)
def test_lines_get_their_rank_and_lose_the_chatter(output, printed, expected):
    stream, writing, shown, log = output
    for piece in printed:
        os.write(writing, piece.encode())
        stream.read()
    stream.finish(keep=True)
    assert shown.getvalue() == expected
    assert log.getvalue().decode() == "".join(printed)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("error", [RUNTIME, "Traceback (most recent call last):\n"])
def test_errors_wait_until_it_is_known_whose_failure_it_is(output, keep, error):
    stream, writing, shown, _ = output
    os.write(writing, f"before\n{error}after\n".encode())
    stream.read()
    assert shown.getvalue() == "[3] before\n"
    stream.finish(keep)
    assert shown.getvalue() == ("[3] before\n" + (f"[3] {error}[3] after\n" if keep else ""))


def test_errors_are_shown_when_the_job_goes_on(output):
    stream, writing, shown, _ = output
    os.write(writing, f"{RUNTIME}after\n".encode())
    stream.read()
    stream.show(float("inf"))
    assert shown.getvalue() == f"[3] {RUNTIME}[3] after\n"


def failed(process, time, consequence=False):
    return ProcessFailure(process, f"failed at {time}", process, time, consequence=consequence)


@pytest.mark.parametrize(
    ("failures", "first"),
    [
        ([failed(1, 5.0), failed(0, 4.0)], 0),
        ([failed(1, 1.0, True), failed(0, 4.0)], 0),
        ([failed(1, 1.0, True), failed(0, 4.0, True)], 1),
    ],
)
def test_the_first_cause_counts(failures, first):
    verdict = Verdict()
    for failure in failures:
        verdict.add(failure, now=0.0)
    assert verdict.first().process == first
    assert not verdict.is_ready(0.01, {0, 1})
    assert verdict.is_ready(1.0, {0, 1})


def test_the_first_report_of_a_process_counts():
    verdict = Verdict()
    verdict.add(failed(1, 1.0), now=0.0)
    verdict.add(failed(1, 0.5), now=0.0)
    assert verdict.report(2) == "process 1 of 2 failed at 1.0\n"


def test_stacks_are_awaited_for_a_while():
    verdict = Verdict()
    stuck = ProcessFailure(1, "has been in step 3 for 9 s", 124, 1.0)
    assert verdict.add_stuck(stuck, now=0.0)
    assert not verdict.add_stuck(stuck, now=0.1)  # asked for once
    assert not verdict.is_ready(1.0, {0, 1})
    verdict.stacks[0], verdict.steps[0] = "File a.py", 3
    assert not verdict.is_ready(1.0, {0, 1})
    assert verdict.is_ready(2.0, {0, 1})
    report = verdict.report(2)
    assert "process 0, in step 3:\nFile a.py" in report
    assert "process 1: no answer" in report


@pytest.mark.parametrize(
    ("status", "code", "what"),
    [(3, 3, "exit code 3"), (-9, 137, "SIGKILL"), (-11, 139, "SIGSEGV"), (-6, 134, "SIGABRT")],
)
def test_exit_codes_are_read(status, code, what):
    failure = of_exit(1, status, 0.0)
    assert failure.code == code
    assert what in failure.what
    assert failure.consequence == (status == -6)
    assert of_exit(1, 0, 0.0) is None


def test_what_others_raise_is_a_consequence():
    import jax

    error = jax.errors.JaxRuntimeError("INTERNAL: Gloo AllReduce failed: Connection closed by peer")
    assert is_consequence(error)
    assert not is_consequence(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    assert not is_consequence(ValueError("gloo"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "0", "-m", "a"], "--processes has to be 1 or more; got 0"),
        (["--processes", "2", "--min-processes", "3", "-m", "a"], "is more than --processes 2"),
        (["--restarts", "-1", "-m", "a"], "cannot be negative"),
        (["nothing.py"], "there is no file nothing.py; a module is started with -m"),
        ([], "required: program"),
    ],
)
def test_wrong_command_lines_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse_options(arguments)
    assert message in capsys.readouterr().err


def test_what_follows_the_program_is_its_own():
    options = parse_options(["--processes", "2", __file__, "--processes", "7", "-m"])
    assert options.processes == 2
    assert options.command[1:] == [__file__, "--processes", "7", "-m"]
