"""Learn to balance a pole on a cart by deep Q-learning, with the world, the memory and the training in one program.

What one learns here: JAX compiles whatever is written in it. The physics is a function of arrays, eight worlds at once
are its `fn.vmap`, the replay memory is arrays that a step writes into, and tens of thousands of steps of acting and
training are one `fn.scan` around `training.make_train_step`. Python is called once in 10,000 steps, to print.

python examples/dqn.py                    # a minute on two cores
python examples/dqn.py --steps 400000     # goes on from there
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import checkpoint, nn, optim, training
from funcnet import functional as F
from funcnet.training.pictures import PALETTE, finished, label_axes, new_figure

WORLDS, MEMORY, BATCH, CHUNK, LONGEST = 8, 50_000, 256, 10_000, 500
DISCOUNT, EXPLORE, FOLLOW = 0.99, 0.1, 0.005


def start(key: Any) -> jax.Array:
    """Return a cart's place and speed, and its pole's angle and speed, all near zero."""
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def push(world: jax.Array, action: jax.Array) -> jax.Array:
    """Push the cart to the left (0) or right (1) for 0.02 s: CartPole-v1 of Barto, Sutton and Anderson, 1983."""
    _, speed, angle, turn = world
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    shared = (jnp.where(action == 1, 10.0, -10.0) + 0.05 * turn**2 * sine) / 1.1
    turning = (9.8 * sine - cosine * shared) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    moving = shared - 0.05 * turning * cosine / 1.1
    return world + 0.02 * jnp.stack([speed, moving, turn, turning])


def fallen(world: jax.Array) -> jax.Array:
    """Tell whether the pole leans by more than 12 degrees, or the cart has left the track."""
    return (jnp.abs(world[0]) > 2.4) | (jnp.abs(world[2]) > np.deg2rad(12))


class Learner(NamedTuple):
    """All that training changes: one pytree, and so one checkpoint."""

    run: training.TrainState
    worlds: jax.Array
    ages: jax.Array
    memory: dict[str, jax.Array]
    written: jax.Array


hidden = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
net = fn.functionalize(nn.Sequential(hidden, nn.Linear(64, 2)))
optimizer = optim.adam(5e-4)


def value(params: Any, world: jax.Array) -> jax.Array:
    """Return what each action is worth, ``(N, 2)``; places, angles and speeds are brought to about one."""
    return net.apply(params, {}, world / jnp.array([2.4, 2.0, 0.2, 2.0]))[0]


def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
    """Move the worth of what was done towards what a slower network says of the world after it.

    The slower network is what else the run remembers: it stands where other models have their buffers. A fall is
    worth -1, all else nothing: so a world is worth about the chance that the pole falls soon.
    """
    best = value(params, batch["after"]).argmax(
        1
    )  # double Q-learning: one chooses, the other values
    worth = jnp.take_along_axis(value(state, batch["after"]), best[:, None], 1)[:, 0]
    goal = fn.stop_gradient(jnp.where(batch["fell"], -1.0, DISCOUNT * worth))
    guess = jnp.take_along_axis(value(params, batch["before"]), batch["action"][:, None], 1)[:, 0]
    loss = F.mse_loss(guess, goal)
    slower = jax.tree.map(lambda old, new: old + FOLLOW * (new - old), state, params)
    return loss, ({"loss": loss}, slower)


train_step = training.make_train_step(objective, optimizer)


def begin(seed: int) -> Learner:
    """Return a learner that knows nothing."""
    run = training.TrainState.create(net, optimizer, jax.random.key(seed))
    run = replace(run, state=jax.tree.map(jnp.copy, run.params))
    worlds = fn.vmap(start)(jax.random.split(jax.random.key(seed + 1), WORLDS))
    places, marks = jnp.zeros((MEMORY, 4)), jnp.zeros(MEMORY, jnp.int32)
    memory = {"before": places, "action": marks, "after": places, "fell": marks.astype(bool)}
    return Learner(run, worlds, jnp.zeros(WORLDS, jnp.int32), memory, jnp.zeros((), jnp.int32))


def act_and_learn(learner: Learner, _: Any) -> tuple[Learner, None]:
    """Act once in every world, remember it, and make one step of training."""
    run, worlds, ages, memory, written = learner
    keys = jax.random.split(jax.random.fold_in(run.key, run.step), 4)
    explore = jax.random.uniform(keys[0], (WORLDS,)) < EXPLORE
    guessed = jax.random.randint(keys[1], (WORLDS,), 0, 2)
    action = jnp.where(explore, guessed, value(run.params, worlds).argmax(1))
    after = fn.vmap(push)(worlds, action)
    fell, ages, written = fn.vmap(fallen)(after), ages + 1, written + WORLDS
    seen = {"before": worlds, "action": action, "after": after, "fell": fell}
    places = (written - 1 - jnp.arange(WORLDS)) % MEMORY
    memory = {name: memory[name].at[places].set(seen[name]) for name in memory}
    chosen = jax.random.randint(keys[2], (BATCH,), 0, jnp.minimum(written, MEMORY))
    run, _ = train_step(run, {name: array[chosen] for name, array in memory.items()})
    over = fell | (ages >= LONGEST)  # after 500 steps a game ends, though nothing fell
    fresh = fn.vmap(start)(jax.random.split(keys[3], WORLDS))
    worlds = jnp.where(over[:, None], fresh, after)
    return Learner(run, worlds, jnp.where(over, 0, ages), memory, written), None


@jax.jit
def play(params: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Play a game a key without exploring; return how long each lasted, and its worlds ``(games, 500, 4)``."""

    def game(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def move(carry: Any, _: Any) -> Any:
            world, alive = carry
            after = push(world, value(params, world[None])[0].argmax())
            return (after, alive & ~fallen(after)), (world, alive)

        _, (worlds, alive) = fn.scan(move, (start(key), jnp.array(True)), None, length=LONGEST)
        return alive.sum(), worlds

    return fn.vmap(game)(keys)


@jax.jit
def learn(learner: Learner) -> tuple[Learner, jax.Array]:
    """Make 10,000 steps in the worlds, then play 100 games with the slower network."""
    learner, _ = fn.scan(act_and_learn, learner, None, length=CHUNK // WORLDS)
    lasted, _ = play(learner.run.state, jax.random.split(jax.random.key(0), 100))
    return learner, lasted.mean()


def draw(curve: list[list[float]], policy: Any, path: Path) -> None:
    """Save how long games lasted as it learned, and what the network would do where."""
    figure, ((left, right),) = new_figure(1, 2, size=(9, 3.8))
    left.plot(*zip(*curve, strict=True), color=PALETTE[0], marker="o", markersize=3)
    left.axhline(475, color=PALETTE[1], linestyle="--", label="solved: 475")
    left.set_ylim(0, 515)
    left.legend(loc="lower right")
    label_axes(left, "Learning", x="steps in the worlds", y="mean length of 100 games (steps)")

    angles, turns = np.meshgrid(np.linspace(-12, 12, 121), np.linspace(-115, 115, 121))
    worlds = np.stack([0 * angles, 0 * turns, np.deg2rad(angles), np.deg2rad(turns)], -1)
    worth = np.asarray(value(policy, jnp.asarray(worlds)))
    better = worth[..., 1] - worth[..., 0]
    shown = right.pcolormesh(angles, turns, better, cmap="PuOr", vmin=-1, vmax=1)
    figure.colorbar(shown, label="worth of pushing right, less that of left")
    (lasted,), (game,) = play(policy, jax.random.split(jax.random.key(1), 1))
    way = np.rad2deg(game[: int(lasted), 2:])
    right.plot(way[:, 0], way[:, 1], color="black", linewidth=0.7, label="one game")
    right.legend(loc="lower left")
    label_axes(right, "What it does", x="angle (degrees)", y="turning (degrees a second)")
    finished(figure, path)


def main() -> None:
    """Learn, play, draw."""
    parser = argparse.ArgumentParser(description="Balance a pole on a cart by deep Q-learning.")
    parser.add_argument("--steps", type=int, default=200_000, help="in all worlds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/dqn"))
    args = parser.parse_args()

    learner, curve = begin(args.seed), []
    with checkpoint.Checkpointer(args.out, best="mean") as checkpointer:
        if kept := checkpointer.restore(learner):
            learner, curve = kept[0], kept[1].metadata["curve"]
        while int(learner.written) < args.steps:
            learner, mean = learn(learner)
            curve = [*curve, [int(learner.written), float(mean)]]
            notes: Any = {"metrics": {"mean": mean}, "metadata": {"curve": curve}}
            checkpointer.save(curve[-1][0], learner, **notes)
            print(f"{curve[-1][0]:7,} steps: a game lasts {mean:.1f} steps", flush=True)
        best = checkpointer.best()
    assert best is not None
    policy = best.load(learner).run.state
    lasted, _ = play(policy, jax.random.split(jax.random.key(args.seed + 2), 1000))
    mean = lasted.mean()
    print(
        f"the network after {best.step:,} steps, which did best: 1,000 new games last {mean:.1f} steps in the mean\n"
        f"{'solved' if mean >= 475 else 'not solved'}: 475 of 500 is the mark; pushing at random lasts 22"
    )
    draw(curve, policy, args.out / "cartpole.png")
    more = f"--steps {2 * args.steps} --seed {args.seed} --out {args.out}"
    print(f"go on: python examples/dqn.py {more}")


if __name__ == "__main__":
    main()
