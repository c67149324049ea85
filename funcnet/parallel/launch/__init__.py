"""Jobs of several processes: started, watched, and ended as a whole.

On one machine the launcher starts the processes and ends them::

    python -m funcnet.parallel.launch --processes 2 --devices-per-process 2 train.py --lr 0.1

On a cluster SLURM, Kubernetes or MPI starts them (``examples/cluster/`` has the scripts), and process 0 is told what
happens to the others. In both cases the program calls `start` first, and `alive` at each step.

What can happen to a process, and what is said of it, once; the number is the exit code of the job.

===============================  ===========================================  ====================
what happens                     what is said                                 exit code
===============================  ===========================================  ====================
an error that nobody catches,    its traceback, with the rank                 1
MemoryError too
``sys.exit(3)``, ``exit(3)``     left by sys.exit(3)                          3
killed, out of memory,           was ended by SIGKILL;                        128 + signal;
a crash in C                     on a cluster: is gone without a word         1 on a cluster
``os._exit(4)``                  ended with exit code 4                       4; 1 for 0
frozen: stopped, swapped out,    for how long it has given no sign of life,   124;
its network or machine gone      ``heartbeat_timeout`` after it froze         134 on a cluster
stuck: an endless loop, a        the step, and the Python stack of every      124
collective that others miss      process, after ``step_timeout``
the launcher is killed           nothing: its processes are killed            137
Ctrl-C or SIGTERM to the         that processes have ``--grace`` seconds to   130, 143
launcher                         save and leave; then they are killed
SIGTERM to one process           nothing: `alive` is False in all processes   the program's: 75
(preemption)                     at the same step
===============================  ===========================================  ====================

Errors that other processes raise because of the first are in the files of ``--log-dir``, not on the terminal.
Children of a process end with it, except those that make themselves a session of their own.

What Python 3.11 does not notice at once: ``raise SystemExit(3)`` written out, which it does not tell from a good end;
the process then waits ``shutdown_timeout`` for the others, or ``step_timeout`` ends the job. Write ``sys.exit(3)``.

On CPU a process that runs many steps ahead of the others hangs in JAX's collectives: wait for each step with
``jax.block_until_ready(loss)`` there. On accelerators steps should run ahead.

Refused, with what to write instead: `start` after JAX has looked for its devices, twice, with a part of the variables,
or with a rank that is not below the number of processes.
"""

from funcnet.parallel.launch.starting import JobProcess, start
from funcnet.parallel.launch.steps import alive

__all__ = ["JobProcess", "alive", "start"]
