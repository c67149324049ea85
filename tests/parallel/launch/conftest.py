"""Numbers of jobs whose ports are free."""

import socket
from contextlib import ExitStack

import pytest

from funcnet.parallel.launch.variables import find_variables


@pytest.fixture
def free_job():
    """Find a SLURM job number that stands for two free ports."""
    with socket.socket() as some:
        some.bind(("localhost", 0))
        begin = some.getsockname()[1]
    for job in range(begin, begin + 2047):
        known = {"SLURM_PROCID": "0", "SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "localhost"}
        port = int(find_variables(known).coordinator.rpartition(":")[2])
        try:
            with ExitStack() as both:
                for one in (port, port + 1):
                    both.enter_context(socket.create_server(("localhost", one)))
        except OSError:
            continue
        return job
    raise AssertionError("no free ports")
