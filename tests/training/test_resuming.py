"""A run that ended anywhere goes on as if it had not: parameters, optimizer, order, dropout, means, history."""

import itertools
import signal
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import checkpoint, data, optim, training
from funcnet.training.loop import resuming
from tests.module.models import Dense
from tests.training.loop.small_run import equal, records_of
from tests.training.models import Model, mse

SAMPLES, BATCH, EPOCHS = 22, 4, 3
STEPS = EPOCHS * 6


def examples():
    rng = np.random.default_rng(7)
    x = rng.standard_normal((SAMPLES, 3), np.float32)
    return {"x": x, "y": x[:, :2] * 3}


def shifted(sample, rng):
    return {**sample, "x": sample["x"] + rng.standard_normal(3).astype(np.float32)}


class Rows(data.IterableDataset):
    def __iter__(self):
        whole = examples()
        return ({k: v[i] for k, v in whole.items()} for i in range(SAMPLES))


def listed():
    return list(data.DataLoader(data.ArrayDataset(examples()), BATCH))


SOURCES = {
    "list": listed,
    "loader": lambda: data.DataLoader(data.ArrayDataset(examples()), BATCH, shuffle=True, seed=3),
    "augmented": lambda: data.DataLoader(
        data.ArrayDataset(examples()), BATCH, shuffle=True, transforms=[shifted]
    ),
    "threads": lambda: data.DataLoader(
        data.ArrayDataset(examples()), BATCH, shuffle=True, num_workers=2
    ),
    "prefetched": lambda: data.prefetch_to_device(SOURCES["loader"](), 3),
    "prefetched list": lambda: data.prefetch_to_device(listed()),
    "stream": lambda: data.DataLoader(Rows(), BATCH),
    "sampler": lambda: data.DataLoader(
        data.ArrayDataset(examples()), BATCH, sampler=data.RandomSampler(range(SAMPLES))
    ),
}


OPTIMIZERS = {
    "adamw": lambda: optim.adamw(optim.schedules.warmup_cosine(0.05, 4, STEPS)),
    "sgd": lambda: optim.sgd(0.05, momentum=0.9, nesterov=True),
}


@cache  # what fit compiled for them is used again
def pieces(name):
    net, optimizer = fn.functionalize(Model(3)), OPTIMIZERS[name]()
    return net, training.supervised(net, mse, inputs="x", targets="y"), optimizer


def start(name="adamw"):
    net, objective, optimizer = pieces(name)
    run = training.TrainState.create(net, optimizer, jax.random.key(1))
    return objective, optimizer, run


class Stop(KeyboardInterrupt):
    """Ends a run as a kill does: fit saves nothing after it."""


class Ending:
    """A source that breaks off before its batch number ``after``, counted over all epochs."""

    def __init__(self, batches, after):
        self.batches, self.after = batches, after

    def __iter__(self):
        for batch in self.batches:
            if self.after == 0:
                raise Stop
            self.after -= 1
            yield batch

    def __getattr__(self, name):
        return getattr(self.__dict__["batches"], name)


@cache
def unbroken(source, optimizer="adamw", epochs=EPOCHS, evaluate_every=None):
    objective, optimizer, run = start(optimizer)
    batches = SOURCES[source]()
    return training.fit(
        objective, optimizer, run, batches, epochs=epochs, evaluation=shuffled(),
        evaluate_every=evaluate_every, progress=False,
    )  # fmt: skip


def shuffled():
    """Batches to evaluate on whose order, and so their rounding, depends on how often they were given out."""
    return data.DataLoader(data.ArrayDataset(examples()), BATCH, shuffle=True, seed=5)


def part(source, folder, after=None, every=2, optimizer="adamw", **settings):
    """Run until batch ``after``, in a process's place: everything is made anew."""
    objective, optimizer, run = start(optimizer)
    batches = SOURCES[source]() if after is None else Ending(SOURCES[source](), after)
    with checkpoint.Checkpointer(folder, every=every, best="loss") as checkpointer:
        return training.fit(
            objective,
            optimizer,
            run,
            batches,
            **{"epochs": EPOCHS, "evaluation": shuffled(), "progress": False, **settings},
            checkpoint=checkpointer,
        )


@pytest.mark.parametrize("every", [None, 1, 2, 3, 6])
@pytest.mark.parametrize("source", SOURCES)
def test_a_run_that_broke_off_goes_on_as_if_it_had_not(source, every, tmp_path):
    run, history = unbroken(source)
    # after some batches of the first epoch, at an epoch's end, and in the last
    for after in (4, 6, 3):
        with pytest.raises(Stop):
            part(source, tmp_path, after, every)
    again, continued = part(source, tmp_path, None, every)
    equal(run, again)
    assert records_of(history) == records_of(continued)
    assert len(history.records) == EPOCHS


class Failure(Exception):
    """An error after which fit saves what it can."""


class Failing(Ending):
    def __iter__(self):
        try:
            yield from super().__iter__()
        except Stop:
            raise Failure from None


@pytest.mark.parametrize("ending", [Ending, Failing], ids=["killed", "failed"])
@pytest.mark.parametrize("source", SOURCES)
def test_evaluations_within_an_epoch_are_made_once(source, ending, tmp_path, monkeypatch):
    run, history = unbroken(source, evaluate_every=4)
    monkeypatch.setitem(globals(), "Ending", ending)
    for after in (4, 6, 1, 3):
        with pytest.raises((Stop, Failure)):
            part(source, tmp_path, after, 2, evaluate_every=4)
    again, continued = part(source, tmp_path, None, 2, evaluate_every=4)
    equal(run, again)
    assert records_of(history) == records_of(continued)
    assert [record["step"] for record in continued.records] == [4, 6, 8, 12, 16, 18]


@pytest.mark.parametrize("source", ["loader", "list", "stream", "prefetched"])
def test_an_error_loses_no_step(source, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Ending", Failing)
    steps = []
    for after in (3, 2, 4, 3):
        with pytest.raises(Failure):
            # what a source without a position makes again is passed over, and counts here
            part(source, tmp_path, after, None)
        steps.append(checkpoint.Checkpointer(tmp_path).latest().step)
    assert steps == sorted(steps)
    assert steps[0] == 3
    again, continued = part(source, tmp_path, None, None)
    run, history = unbroken(source)
    equal(run, again)
    assert records_of(history) == records_of(continued)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_made_before_are_not_made_again(optimizer, tmp_path):
    with pytest.raises(Stop):
        part("loader", tmp_path, 10, 3, optimizer)
    # 9 steps are kept; 9 are to make, so the tenth batch from here is never asked for
    run, _ = part("loader", tmp_path, 9, 3, optimizer)
    equal(run, unbroken("loader", optimizer)[0])


def test_a_whole_run_is_returned_as_it_is_and_can_be_made_longer(tmp_path):
    run, history = part("loader", tmp_path)
    again, same = part("loader", tmp_path, 0)
    equal(run, again)
    assert records_of(history) == records_of(same)
    longer, more = part("loader", tmp_path, epochs=EPOCHS + 1)
    expected, records = unbroken("loader", epochs=EPOCHS + 1)
    equal(longer, expected)
    assert records_of(more) == records_of(records)


def test_ctrl_c_saves_where_it_stopped(tmp_path, monkeypatch):
    class Interrupting(Ending):
        def __iter__(self):
            for batch in self.batches:
                if self.after == 0:
                    signal.raise_signal(signal.SIGINT)
                self.after -= 1
                yield batch

    monkeypatch.setitem(globals(), "Ending", Interrupting)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _, history = part("loader", tmp_path, 8, None)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert history.interrupted
    latest = checkpoint.Checkpointer(tmp_path).latest()
    assert latest is not None
    assert latest.step == 9
    monkeypatch.undo()
    run, continued = part("loader", tmp_path, 9)
    expected, records = unbroken("loader")
    equal(run, expected)
    assert records_of(continued) == records_of(records)


def test_the_best_epoch_is_kept_and_found(tmp_path):
    _, history = part("loader", tmp_path, every=None)
    best = checkpoint.Checkpointer(tmp_path, best="loss").best()
    assert best is not None
    losses = history.series("eval/loss")
    assert best.step == history.records[int(np.argmin(losses))]["step"]
    assert best.metrics["eval/loss"] == min(losses)


def test_an_override_wins_over_the_saved_rate(tmp_path):
    part("loader", tmp_path, optimizer="sgd", epochs=1)
    _, optimizer, run = start("sgd")
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        kept = training.resume(checkpointer, run)
        assert float(optim.hyperparams(kept.opt_state)["lr"]) == pytest.approx(0.05)
        changed = training.resume(checkpointer, run, override={"lr": 0.5})
        assert float(optim.hyperparams(changed.opt_state)["lr"]) == 0.5
        equal(kept.params, changed.params)
        loader = SOURCES["loader"]()
        before = loader.state_dict()
        with pytest.raises(KeyError, match="rate"):
            training.resume(checkpointer, run, loader, override={"rate": 0.5})
        assert loader.state_dict() == before
    objective, optimizer, run = start()
    with pytest.raises(ValueError, match="checkpoint="):
        training.fit(objective, optimizer, run, listed(), epochs=1, override={"lr": 1.0})


def test_a_loop_written_by_hand_resumes(tmp_path):
    def go(steps):
        objective, optimizer, run = start()
        loader = SOURCES["augmented"]()
        step = jax.jit(training.make_train_step(objective, optimizer))
        with checkpoint.Checkpointer(tmp_path, every=2) as checkpointer:
            run = training.resume(checkpointer, run, loader)
            while int(run.step) < steps:
                for batch in loader:
                    run, _ = step(run, batch)
                    if checkpointer.due(int(run.step)):
                        tree = {"run": run, "batches": loader.state_dict()}
                        checkpointer.save(int(run.step), tree)
                    if int(run.step) == steps:
                        break
        return run

    go(7)  # the last checkpoint is that of step 6
    resumed = go(11)
    for path in tmp_path.iterdir():
        path.rename(tmp_path.parent / f"other{path.name}")
    equal(resumed, go(11))


def test_a_folder_that_is_behind_the_run_is_refused(tmp_path):
    part("loader", tmp_path, epochs=1)
    _, _, run = start()
    with pytest.raises(ValueError, match=r"has made 60 steps, .* of step 6"):
        training.resume(tmp_path, replace(run, step=run.step + 60))


@pytest.mark.parametrize("change", ["a field less", "no place"])
def test_a_place_of_another_version_is_told_of_and_the_run_can_be_read(
    tmp_path, monkeypatch, change
):
    run, _ = part("loader", tmp_path / "a", epochs=1)
    if change == "a field less":
        monkeypatch.setattr(resuming.FitPosition, "__init__", lambda self, began=0: None)
    else:
        with checkpoint.Checkpointer(tmp_path / "a") as other:
            other.save(int(run.step) + 1, {"run": run, "place": {"seat": 7}})
    with pytest.raises(ValueError, match=r"another version of funcnet[^*]*training.resume\('.*a'"):
        part("loader", tmp_path / "a", epochs=2)
    _, _, fresh = start()
    equal(training.resume(str(tmp_path / "a"), fresh), run)


def bias(outputs, targets):
    return jnp.mean(outputs - targets)


LISTS = {
    "none": None,
    "object": {"error": training.metrics.MSE()},
    "other object": {"error": training.metrics.R2()},
    "function": {"bias": bias},
}


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(LISTS, 2)])
def test_other_metrics_count_from_where_the_run_goes_on(tmp_path, before, after):
    """Within an epoch; what both calls have counts the whole of it."""
    every = {"evaluate_every": 10**6}
    with pytest.raises(Stop):
        part("list", tmp_path, after=4, every=1, metrics=LISTS[before], **every)
    _, history = part("list", tmp_path, epochs=2, metrics=LISTS[after], **every)
    _, whole = unbroken("list", epochs=2)
    names = {f"train/{name}" for name in LISTS[after] or {}}
    last = {name: value for name, value in history.records[-1].items() if name.startswith("train/")}
    assert last.keys() == {"train/loss"} | names
    assert all(np.isfinite(value) for value in last.values())
    assert int(history.records[-1]["step"]) == int(whole.records[-1]["step"]) == 12


def test_another_model_is_refused_with_what_differs_or_taken_as_far_as_it_fits(tmp_path):
    part("loader", tmp_path, epochs=1)

    class Longer(Model):
        def __init__(self):
            super().__init__(3)
            self.extra = Dense(2, 5)

    net = fn.functionalize(Longer())
    run = training.TrainState.create(net, OPTIMIZERS["adamw"](), jax.random.key(1))
    with pytest.raises(KeyError, match=r"extra\.weight"):
        training.resume(tmp_path, run)
    with pytest.warns(UserWarning, match=r"extra\.weight"):
        mixed = training.resume(tmp_path, run, strict=False)
    _, _, like = start()
    equal(mixed.params["dense"], training.resume(tmp_path, like).params["dense"])
    equal(mixed.params["extra"], run.params["extra"])


def test_a_run_resumes_onto_a_mesh(tmp_path):
    first, _ = part("loader", tmp_path, epochs=1)
    _, _, run = start()
    everywhere = jax.NamedSharding(jax.make_mesh((4,), ("data",)), jax.P())
    spread = training.resume(tmp_path, jax.device_put(run, everywhere))
    assert all(leaf.sharding == everywhere for leaf in jax.tree.leaves(spread))
    equal(first, spread)
