"""A small model trained by several processes, one of which may fail.

Run by a launcher, or with a cluster's variables, as ``program.py FAULT [options]``.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np

from funcnet import parallel

BATCH, SAMPLES = 8, 32


def samples():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, 4)).astype(np.float32)
    return x, np.tanh(x @ rng.standard_normal((4, 1)).astype(np.float32))


def rows_of(step):
    """The order is a function of seed and epoch, whatever the number of processes."""
    epoch, batch = divmod(step, SAMPLES // BATCH)
    order = np.random.default_rng([1, epoch]).permutation(SAMPLES)
    return order[batch * BATCH : (batch + 1) * BATCH]


def fail(fault, me):
    """Do what ends a process, at once or never."""
    with open(os.environ["FAULT_FILE"], "w") as file:
        file.write(str(time.time()))
    if fault == "raised":
        raise ValueError("a bad value")
    if fault == "exited":
        sys.exit(3)
    if fault == "left":
        raise SystemExit(3)
    if fault == "vanished":
        os._exit(0)
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        np.ones(1 << 40)
    if fault == "frozen":
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "looping":
        while True:
            pass
    if fault == "absent":
        time.sleep(1000)
    if fault == "launcher":
        os.kill(os.getppid(), signal.SIGKILL)
    if fault == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if fault == "interrupted":
        os.kill(os.getppid(), signal.SIGINT)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fault")
    parser.add_argument("--at", type=int, default=6)
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--step-timeout", type=float)
    parser.add_argument("--heartbeat", type=int, default=20)
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--folder")
    asked = parser.parse_args()
    if asked.fault == "early":
        raise ValueError("before it joins")
    me = parallel.start(
        step_timeout=asked.step_timeout,
        heartbeat_timeout=asked.heartbeat,
        initialization_timeout=60,
        shutdown_timeout=60,
    )
    if asked.child:
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
    train(asked, me)


def train(asked, me):
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = parallel.mesh(data=-1)
    whole = NamedSharding(mesh, PartitionSpec())
    spread = NamedSharding(mesh, PartitionSpec("data"))

    def loss_of(params, x, y):
        hidden = jnp.tanh(x @ params["a"] + params["b"])
        return jnp.mean((hidden @ params["c"] - y) ** 2)

    @jax.jit
    def step_of(params, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

    rng = np.random.default_rng(2)
    shapes = {"a": (4, 16), "b": (16,), "c": (16, 1)}
    values = {n: rng.standard_normal(s).astype(np.float32) / 2 for n, s in shapes.items()}
    params = {
        name: jax.make_array_from_process_local_data(whole, value) for name, value in values.items()
    }
    checkpointer, begin = None, 0
    if asked.folder:
        from funcnet.checkpoint import Checkpointer

        checkpointer = Checkpointer(asked.folder)
        if found := checkpointer.restore(like={"params": params}):
            params, begin = found[0]["params"], found[1].step
            print(f"begins at step {begin}")
    x, y = samples()
    share = BATCH // me.count
    loss = jnp.inf
    for step in range(begin, asked.steps):
        # the first steps compile, which takes as long as it takes
        if not parallel.alive(step if step > 3 else None):
            print(f"stops at step {step}", flush=True)
            if me.index == 0:
                time.sleep(0.5)  # it still saves: the others have to wait
                print("has saved", flush=True)
            sys.exit(os.EX_TEMPFAIL)
        if step == asked.at and me.restart == 0 and me.index == asked.rank:
            fail(asked.fault, me)
        mine = rows_of(step)[me.index * share : (me.index + 1) * share]
        batch = [jax.make_array_from_process_local_data(spread, v[mine]) for v in (x, y)]
        params, loss = step_of(params, *batch)
        jax.block_until_ready(loss)
        if asked.fault in ("terminated", "interrupted"):
            time.sleep(0.05)
        if checkpointer is not None and (step + 1) % 3 == 0:
            checkpointer.save(step + 1, {"params": params})
            checkpointer.wait()
    print(f"loss {float(loss):.6f} on {jax.device_count()} devices")


if __name__ == "__main__":
    main()
