"""Whatever happens to one process, all of the job end, and the first error is printed once, with its rank."""

import re
import sys

from tests.parallel.launch.jobs import PROGRAM, run_job

JOB = ["--processes", "2", "--devices-per-process", "2"]

# what happens: the program's options, the exit code, what is printed
FAULTS = {
    "raised": ([], 1, "process {rank} of 2 raised ValueError"),
    "exited": ([], 3, r"process {rank} of 2 left by sys.exit\(3\)"),
    "left": ([], 3, r"process {rank} of 2 left by sys.exit\(3\)"),
    "killed": ([], 137, "process {rank} of 2 was ended by SIGKILL"),
    "frozen": (["--heartbeat", "4"], 124, "process {rank} of 2 has given no sign of life for"),
    "looping": (["--step-timeout", "2.5"], 124, r"process \d of 2 has been in step 6 for"),
    "absent": (["--step-timeout", "2.5"], 124, r"process \d of 2 has been in step 6 for"),
    "launcher": (["--child"], -9, None),
    "memory": ([], 1, "process {rank} of 2 raised MemoryError"),
    "vanished": ([], 1, "process {rank} of 2 ended with exit code 0 before the others"),
}
IN_CI = ("raised", "exited", "left", "killed", "frozen", "looping", "launcher")

# what others may only say as a consequence
ECHOES = re.compile("Terminating process|gloo|JaxRuntimeError|coordination", re.IGNORECASE)


def pytest_generate_tests(metafunc):
    """Each once, or by ``--grid=full`` ten times and the rare ones too."""
    full = metafunc.config.getoption("grid") == "full"
    if "repeat" in metafunc.fixturenames:
        rows = [(fault, 0) for fault in IN_CI]
        if full:
            rows = [(fault, time) for fault in FAULTS for time in range(10)]
        if sys.version_info < (3, 12):  # which does not tell it from a good end
            rows = [row for row in rows if row[0] != "left"]
        metafunc.parametrize(("fault", "repeat"), rows)
    if "cluster_row" in metafunc.fixturenames:
        rows = CLUSTER_FAULTS if full else CLUSTER_FAULTS[:2]
        metafunc.parametrize("cluster_row", rows, ids=lambda row: f"{row[0]}-{row[1]}")


def test_all_processes_end(fault, repeat):
    run_with_fault(fault, rank=(repeat + 1) % 2)


def run_with_fault(fault, rank):
    """Run a job and check what is left of it, what is printed, and its exit code."""
    options, code, said = FAULTS[fault]
    # it asserts that nobody is left
    ended = run_job(*JOB, PROGRAM, fault, "--rank", str(rank), *options)
    assert ended.code == code, ended
    if said is not None:  # else nobody is there to say it
        check_report(ended, said.format(rank=rank))
    if fault == "raised":
        assert ended.err.count("ValueError: a bad value") == 1
    if fault in ("looping", "absent"):
        where = {"looping": "while True:", "absent": "time.sleep(1000)"}[fault]
        assert "process 0, in step 6:" in ended.err
        assert "process 1, in step 6:" in ended.err
        assert ended.err.count(where) == 1
        assert ended.err.count("block_until_ready") >= 1
    return ended


def check_report(ended, said):
    assert len(re.findall(said, ended.err)) == 1, ended.err
    assert len(re.findall(r"^process \d of 2 \w", ended.err, re.MULTILINE)) == 1, ended.err
    assert not ECHOES.search(ended.err), ended.err


def test_an_error_before_the_job_is_joined_is_printed_once():
    ended = run_job("--processes", "2", PROGRAM, "early")
    assert ended.code == 1
    assert ended.err.count("ValueError: before it joins") == 1, ended.err


def slurm(job, rank):
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "JAX_NUM_CPU_DEVICES": "2",
    }


CLUSTER_FAULTS = [
    ("raised", 0, [1, 1], "process 0 of 2 raised ValueError"),
    ("killed", 1, [1, -9], "process 1 of 2 is gone without a word"),
    ("killed", 0, [-9, None], "process 0 is gone without a word"),
    ("exited", 1, [3, 3], r"process 1 of 2 left by sys.exit\(3\)"),
    ("looping", 1, [124, 124], r"process \d of 2 has been in step 6 for"),
]


def test_a_job_of_a_cluster_ends_without_a_launcher(cluster_row, free_job):
    run_cluster(*cluster_row, job=free_job)


def run_cluster(fault, rank, codes, said, job):
    """Run a job as a cluster does, and check the same."""
    options = ["--rank", str(rank), "--step-timeout", "2.5" if fault == "looping" else "50"]
    ended = run_job(
        commands=[[sys.executable, PROGRAM, fault, *options]] * 2,
        environments=[slurm(job, process) for process in (0, 1)],
    )
    if codes[1] is None:  # JAX's client may be the quicker one to see that its service is gone
        assert ended.codes[1] in (1, -6), ended
        return ended
    assert ended.codes == codes, ended
    check_report(ended, said)
    if fault == "looping":
        assert "while True:" in ended.err
        assert "block_until_ready" in ended.err
    return ended
