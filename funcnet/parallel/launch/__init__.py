"""Jobs of several processes: started, watched, and ended as a whole.

On one machine the launcher starts the processes and ends them::

    python -m funcnet.parallel.launch --processes 2 --devices-per-process 2 train.py --lr 0.1

On a cluster SLURM, Kubernetes or MPI starts them (``examples/cluster/`` has the scripts), and process 0 is told what
happens to the others. In both cases the program calls `start` first, and `alive` at each step.

What can happen, what is printed, once, and the exit code of the job:

| what happens to a process | how it is noticed | what is said | code |
|---|---|---|---|
| an error that nobody catches, also MemoryError | reported by it | its traceback, with its rank | 1 |
| ``sys.exit(3)``, ``exit(3)`` | reported by it | left by sys.exit(3) | 3 |
| killed, out of memory, a crash in C | its exit, or its connection ends | ended by SIGKILL; is gone without a word | 137; 1 on a cluster |
| ``os._exit`` | the same | ended with exit code | that code, or 1 for 0 |
| frozen: stopped, swapped out, its machine or network gone | JAX's heartbeat, after ``heartbeat_timeout`` | no sign of life for so many seconds | 124; 134 on a cluster |
| stuck: an endless loop, a collective that others never join | a watchdog, after ``step_timeout`` | the step, and the Python stack of every process | 124 |
| the launcher is killed | a pipe ends | nothing | |
| Ctrl-C, or SIGTERM to the launcher | | the processes save and leave at one step, or are killed after ``--grace`` | 130, 143 |
| SIGTERM to any process (preemption) | JAX's agreement | all stop at one step: `alive` is False | the program's |

An error that others raise because of it is not printed, except in the files of ``--log-dir``. Beyond what a process
starts in its own group nothing is left behind; a program that makes itself a session of its own is its own affair.

What is not noticed at once: ``raise SystemExit(3)`` written out, which Python does not tell from a good end; the
process then waits ``shutdown_timeout`` for the others, or ``step_timeout`` ends the job. Write ``sys.exit(3)``.

Refused, with what to write instead: `start` after JAX has looked for its devices, twice, with a part of the variables,
or with a rank that is not below the number of processes.
"""

from funcnet.parallel.launch.starting import JobProcess, alive, start

__all__ = ["JobProcess", "alive", "start"]
