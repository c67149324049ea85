"""Learn to balance a pole on a cart by deep Q-learning, with the world, the memory and the training in one program.

What one learns here: JAX compiles whatever is written in it. The physics is a function of arrays, 16 worlds at once
are its `fn.vmap`, the replay memory is arrays that a step writes into, and tens of thousands of steps of acting and
training are one `fn.scan` around `training.make_train_step`. Python is called once in 10,000 steps, to print.

python examples/dqn.py                    # a minute on two cores
python examples/dqn.py --steps 600000     # goes on from there
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

import funcnet as fn
from funcnet import checkpoint, nn, optim, training
from funcnet import functional as F

mpl.use("Agg")
import matplotlib.pyplot as plt

WORLDS, MEMORY, BATCH, CHUNK, LONGEST = 16, 50_000, 128, 10_000, 500
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
    target: Any
    worlds: jax.Array
    ages: jax.Array
    memory: dict[str, jax.Array]
    written: jax.Array


net = fn.functionalize(
    nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
)
optimizer = optim.chain(optim.clip_by_global_norm(10.0), optim.adam(5e-4))


def value(params: Any, world: jax.Array) -> jax.Array:
    """Return what each action is worth, ``(N, 2)``."""
    return net.apply(params, {}, world)[0]


def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
    """Move the worth of what was done towards the reward and what a slower network says of the next world."""
    best = value(params, batch["after"]).argmax(
        1
    )  # double Q-learning: one chooses, the other values
    worth = jnp.take_along_axis(value(batch["target"], batch["after"]), best[:, None], 1)[:, 0]
    goal = fn.stop_gradient(1 + DISCOUNT * jnp.where(batch["fell"], 0, worth))
    guess = jnp.take_along_axis(value(params, batch["before"]), batch["action"][:, None], 1)[:, 0]
    loss = F.huber_loss(guess, goal)
    return loss, ({"loss": loss}, state)


def begin(seed: int) -> Learner:
    """Return a learner that knows nothing."""
    run = training.TrainState.create(net, optimizer, jax.random.key(seed))
    worlds = fn.vmap(start)(jax.random.split(jax.random.key(seed + 1), WORLDS))
    memory = {
        "before": jnp.zeros((MEMORY, 4)),
        "action": jnp.zeros(MEMORY, jnp.int32),
        "after": jnp.zeros((MEMORY, 4)),
        "fell": jnp.zeros(MEMORY, bool),
    }
    target = jax.tree.map(jnp.copy, run.params)
    zero = jnp.zeros((), jnp.int32)
    return Learner(run, target, worlds, jnp.zeros(WORLDS, jnp.int32), memory, zero)


train_step = training.make_train_step(objective, optimizer)


def act_and_learn(learner: Learner, _: Any) -> tuple[Learner, jax.Array]:
    """Act once in every world, remember it, and make one step of training."""
    run, target, worlds, ages, memory, written = learner
    key = jax.random.fold_in(jax.random.fold_in(run.key, run.step), 1)
    explore_key, action_key, start_key, batch_key = jax.random.split(key, 4)
    explore = jax.random.uniform(explore_key, (WORLDS,)) < EXPLORE
    random = jax.random.randint(action_key, (WORLDS,), 0, 2)
    action = jnp.where(explore, random, value(run.params, worlds).argmax(1))
    after = fn.vmap(push)(worlds, action)
    fell, ages = fn.vmap(fallen)(after), ages + 1
    seen = {"before": worlds, "action": action, "after": after, "fell": fell}
    places = (written + jnp.arange(WORLDS)) % MEMORY
    memory = {name: memory[name].at[places].set(seen[name]) for name in memory}
    written = written + WORLDS

    chosen = jax.random.randint(batch_key, (BATCH,), 0, jnp.minimum(written, MEMORY))
    batch = {name: array[chosen] for name, array in memory.items()}
    run, metrics = train_step(run, batch | {"target": target})
    target = jax.tree.map(lambda old, new: old + FOLLOW * (new - old), target, run.params)

    over = fell | (ages >= LONGEST)  # after 500 steps a game ends, though nothing fell
    fresh = fn.vmap(start)(jax.random.split(start_key, WORLDS))
    worlds = jnp.where(over[:, None], fresh, after)
    learner = Learner(run, target, worlds, jnp.where(over, 0, ages), memory, written)
    return learner, metrics["loss"]


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
def learn(learner: Learner) -> tuple[Learner, dict[str, jax.Array]]:
    """Make 10,000 steps in the worlds, then play 100 games with the slower network."""
    learner, losses = fn.scan(act_and_learn, learner, None, length=CHUNK // WORLDS)
    lasted, _ = play(learner.target, jax.random.split(jax.random.key(0), 100))
    return learner, {"mean": lasted.mean(), "shortest": lasted.min(), "loss": losses.mean()}


def draw(curve: list[tuple[int, float]], params: Any, path: Path) -> None:
    """Save how long games lasted as it learned, and what the network would do where."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    left.plot(*zip(*curve, strict=True), marker="o", markersize=3)
    left.axhline(475, color="gray", linestyle="--", label="solved: 475")
    left.set(xlabel="steps in the worlds", ylabel="mean length of 100 games (steps)")
    left.set(ylim=(0, 515), title="learning")
    left.legend()

    angles, turns = np.meshgrid(np.linspace(-12, 12, 121), np.linspace(-115, 115, 121))
    zero = np.zeros_like(angles)
    worlds = np.stack([zero, zero, np.deg2rad(angles), np.deg2rad(turns)], -1).reshape(-1, 4)
    values = np.asarray(value(params, jnp.asarray(worlds)))
    better = (values[:, 1] - values[:, 0]).reshape(angles.shape)
    reach = np.abs(better).max()
    shown = right.pcolormesh(angles, turns, better, cmap="PuOr", vmin=-reach, vmax=reach)
    figure.colorbar(shown, label="worth of pushing right, less that of left")
    (lasted,), (game,) = play(params, jax.random.split(jax.random.key(1), 1))
    game = np.rad2deg(game[: int(lasted), 2:])
    right.plot(game[:, 0], game[:, 1], color="black", linewidth=0.7, label="one game")
    right.set(xlabel="angle (degrees)", ylabel="turning (degrees a second)", title="what it does")
    right.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Learn, play, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300_000, help="in all worlds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/dqn"))
    args = parser.parse_args()

    learner, curve = begin(args.seed), []
    with checkpoint.Checkpointer(args.out) as checkpointer:
        kept = checkpointer.restore({"learner": learner, "curve": curve})
        if kept is not None:
            learner, curve = kept[0]["learner"], kept[0]["curve"]
        while int(learner.written) < args.steps:
            learner, found = learn(learner)
            done, mean = int(learner.written), float(found["mean"])
            curve = [*curve, (done, mean)]
            checkpointer.save(done, {"learner": learner, "curve": curve})
            print(
                f"{done:7,} steps: a game lasts {mean:.1f} steps, the shortest {int(found['shortest'])} "
                f"(loss {float(found['loss']):.3f})",
                flush=True,
            )
    lasted, _ = play(learner.target, jax.random.split(jax.random.key(args.seed + 2), 1000))
    mean = float(lasted.mean())
    print(f"1,000 new games last {mean:.1f} steps in the mean; pushing at random lasts 22")
    print("solved: 475 of 500 is the mark" if mean >= 475 else "not solved: 475 of 500 is the mark")
    draw(curve, learner.target, args.out / "cartpole.png")
    print(
        f"go on: python examples/dqn.py --steps {2 * args.steps} --seed {args.seed} --out {args.out}"
    )


if __name__ == "__main__":
    main()
