"""What the environment says, where a job begins, and what is refused."""

import pytest

from funcnet import parallel
from funcnet.parallel.launch.starting import start
from funcnet.parallel.launch.variables import find_variables, first_host


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("node001,host2", "node001"),
        ("node[01-03,07]", "node01"),
        ("node[7,09-12],login", "node7"),
        ("a,node[1-2]", "a"),
        ("rack[2-4]-node[01-03],x", "rack2-node01"),
        ("gpu[3-5]-ib.site", "gpu3-ib.site"),
    ],
)
def test_the_first_host_of_a_slurm_list(nodes, first):
    assert first_host(nodes) == first


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "node[01-03,07]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}
MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
OURS = {"FUNCNET_COORDINATOR": "h:9", "FUNCNET_PROCESSES": "2", "FUNCNET_PROCESS": "1"}

# variables; coordinator, processes, process, devices
KNOWN = {
    "nothing": ({}, (None, None, None, None)),
    "ours": (OURS, ("h:9", 2, 1, None)),
    "our devices": (OURS | {"FUNCNET_DEVICES": "2,3"}, ("h:9", 2, 1, (2, 3))),
    "ours before SLURM's": (SLURM | OURS, ("h:9", 2, 1, None)),
    "slurm": (SLURM, ("node01:62674", 8, 5, None)),
    "the step before the job": (
        SLURM | {"SLURM_STEP_NODELIST": "node07", "SLURM_STEP_NUM_TASKS": "2"},
        ("node07:62674", 2, 5, None),
    ),
    "several tasks on a node": (
        SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x4)"},
        ("node01:62674", 8, 5, (1,)),
    ),
    "two accelerators each": (
        SLURM | {"SLURM_TASKS_PER_NODE": "2(x4)", "CUDA_VISIBLE_DEVICES": "0,1,2,3"},
        ("node01:62674", 8, 5, (2, 3)),
    ),
    "bound by SLURM": (
        SLURM | {"SLURM_TASKS_PER_NODE": "2(x4)", "CUDA_VISIBLE_DEVICES": "1"},
        ("node01:62674", 8, 5, None),
    ),
    "a shell of salloc": ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}, (None, None, None, None)),
    "kubernetes": (
        {
            "JOB_COMPLETION_INDEX": "3",
            "FUNCNET_PROCESSES": "4",
            "FUNCNET_COORDINATOR": "train-0.train",
        },
        ("train-0.train:12340", 4, 3, None),
    ),
    "kubernetes alone": ({"JOB_COMPLETION_INDEX": "3"}, (None, None, 3, None)),
    "open mpi 4": (
        MPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"},
        ("10.96.0.1:64172", 4, 1, (1,)),
    ),
    "open mpi, ipv6": (
        MPI | {"OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::1,2620::2]:43370"},
        ("[fe80::1]:64632", 4, 1, (1,)),
    ),
    "open mpi 5": (MPI, (None, 4, 1, (1,))),
    "open mpi on one machine": (
        MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"},
        ("127.0.0.1:61440", 4, 1, (1,)),
    ),
    "mpich": ({"PMI_RANK": "2", "PMI_SIZE": "4"}, (None, 4, 2, None)),
    "mpich on one machine": (
        {"PMI_RANK": "2", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4", "MPI_LOCALRANKID": "2"},
        ("127.0.0.1:12340", 4, 2, (2,)),
    ),
    "mpi with an address": (MPI | {"FUNCNET_COORDINATOR": "a:7"}, ("a:7", 4, 1, (1,))),
}


@pytest.mark.parametrize("case", list(KNOWN))
def test_what_clusters_say(case):
    variables, expected = KNOWN[case]
    found = find_variables(variables)
    assert (found.coordinator, found.processes, found.process, found.devices) == expected


def test_a_variable_that_is_no_number_is_named():
    with pytest.raises(ValueError, match=r"SLURM_NTASKS should be a whole number .* 'many'"):
        find_variables(SLURM | {"SLURM_NTASKS": "many"})


@pytest.fixture
def alone(monkeypatch):
    """Hide the variables of a job that these tests may run in."""
    import os

    for name in list(os.environ):
        if name.startswith(("FUNCNET_", "SLURM_", "OMPI_", "PMI_", "JOB_COMPLETION")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_a_process_alone_does_nothing(alone):
    place = start()
    assert place == parallel.JobProcess(index=0, count=1, restart=0)
    assert len(place.devices) == 4
    for name, value in SLURM.items():
        alone.setenv(name, value)
    assert start(processes=1).count == 1  # what is given wins
    for name, value in (OURS | {"FUNCNET_LAUNCHER": "localhost:1"}).items():
        alone.setenv(name, value)
    assert start(processes=1).count == 1


@pytest.mark.parametrize(
    ("variables", "given", "message"),
    [
        ({"FUNCNET_PROCESS": "1"}, {}, "gives process=1, without coordinator and processes"),
        ({"JOB_COMPLETION_INDEX": "1"}, {}, "set FUNCNET_COORDINATOR and FUNCNET_PROCESSES"),
        (MPI, {}, "without coordinator. Pass them: parallel.start.coordinator="),
        ({}, {"processes": 2, "process": 0}, "without coordinator"),
        ({}, {"coordinator": "a:1"}, "without processes and process"),
        (OURS, {"process": 2}, "ranks go from 0 to 1"),
        (OURS, {"coordinator": "here"}, "host:port of process 0"),
    ],
)
def test_half_of_what_is_needed_is_refused(alone, variables, given, message):
    for name, value in variables.items():
        alone.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        start(**given)


def test_start_comes_first(alone):
    with pytest.raises(RuntimeError, match="has to come before anything that makes JAX look"):
        start(
            coordinator="localhost:1", processes=2, process=0
        )  # the devices of this process are known


def test_a_coordinator_that_is_not_there_is_named(alone):
    with pytest.raises(
        RuntimeError, match="process 1 of 2 cannot reach process 0 at localhost:1 within 0 s"
    ):
        start(coordinator="localhost:1", processes=2, process=1, initialization_timeout=0)
