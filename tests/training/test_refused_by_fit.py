"""What fit, evaluate and predict are given by mistake: an error where it is passed, with what to write instead."""

import pytest

from funcnet import data, parallel, training
from tests.module.models import Dense
from tests.training.models import mse


def test_mistakes(pieces):
    net, optimizer, run, objective, batches, _ = pieces
    with pytest.raises(ValueError, match="is an iterator"):
        training.fit(objective, optimizer, run, iter(batches), epochs=2, progress=False)
    with pytest.raises(ValueError, match="empty"):
        training.fit(objective, optimizer, run, [], epochs=1, progress=False)
    with pytest.raises(KeyError, match=r"no entry 'image'.*\['x', 'y'\]"):
        training.evaluate(training.supervised(net, mse), run, batches)
    unreduced = training.supervised(net, lambda o, t: (o - t) ** 2, inputs="x", targets="y")
    with pytest.raises(ValueError, match="must be a scalar"):
        training.evaluate(unreduced, run, batches)


def test_what_is_no_mesh_and_no_table_of_rules(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    mesh = parallel.mesh(data=-1)
    for message, where in (
        (r"mesh=parallel\.mesh\(data=-1\).*got 4", {"mesh": 4}),
        (r"a dict: rules=parallel\.fully_sharded\(\)", {"mesh": mesh, "rules": "fsdp"}),
        (r"got <function fully_sharded", {"mesh": mesh, "rules": parallel.fully_sharded}),
    ):
        with pytest.raises(TypeError, match=message):
            training.fit(objective, optimizer, run, batches, epochs=1, progress=False, **where)


@pytest.mark.parametrize("kind", ["batch", "array", "dataset", "subset", "number"])
@pytest.mark.parametrize("where", ["fit", "evaluation", "evaluate", "predict"])
def test_what_is_no_batches_is_met_where_it_is_passed(pieces, kind, where):
    net, optimizer, run, objective, batches, whole = pieces
    dataset = data.ArrayDataset(whole)
    subset = data.Subset(dataset, range(5))
    wrong = {"batch": whole, "array": whole["x"], "dataset": dataset, "subset": subset, "number": 5}
    given, name = wrong[kind], "evaluation" if where == "evaluation" else "batches"
    train = lambda batches, **options: training.fit(
        objective, optimizer, run, batches, epochs=1, progress=False, **options
    )
    calls = {
        "fit": lambda: train(given),
        "evaluation": lambda: train(batches, evaluation=given),
        "evaluate": lambda: training.evaluate(objective, run, given),
        "predict": lambda: training.predict(net, run.params, run.state, given, inputs="x"),
    }
    with pytest.raises(TypeError, match=f"^{name} is "):
        calls[where]()


def test_parameters_are_no_run(pieces):
    with pytest.raises(TypeError, match=r"TrainState.create\(.*got a dict"):
        training.evaluate(pieces[3], pieces[2].params, pieces[4])


RETURNED = {
    "the loss alone": (lambda loss, state: loss, TypeError, r"returns \(loss, \(metrics, state\)\)"),
    "no metrics": (lambda loss, state: (loss, state), TypeError, r"\(loss, \(metrics, state\)\).*a dict"),
    "flat": (lambda loss, state: (loss, {"loss": loss}, state), TypeError, "an objective returns"),
    "in lists": (lambda loss, state: [loss, [{"loss": loss}, state]], None, ""),
    "nothing to report": (lambda loss, state: (loss, ({}, state)), None, ""),
    "a row's losses": (lambda loss, state: (loss[None], ({}, state)), ValueError, "the loss of an objective must"),
    "a row's metrics": (lambda loss, state: (loss, ({"a": loss[None]}, state)), ValueError, r"metrics\['a'\].*\(1,\)"),
    "the other way": (lambda loss, state: (loss, (state, {})), ValueError, r"metrics\['counter'\].*a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", RETURNED)
def test_what_an_objective_by_hand_returns_is_looked_at(pieces, name):
    net, optimizer, run, _, batches, _ = pieces
    make, error, message = RETURNED[name]

    def objective(params, state, batch, key, train):
        outputs, state = net.apply(params, state, batch["x"], key=key, train=train)
        return make(mse(outputs, batch["y"]), state)

    if error is None:
        _, history = training.fit(
            objective, optimizer, run, batches, epochs=1, evaluation=batches, progress=False
        )
        assert {"train/loss", "eval/loss"} <= history.records[0].keys()
        return
    with pytest.raises(error, match=message):
        training.fit(objective, optimizer, run, batches, epochs=1, progress=False)


def test_pieces_in_the_wrong_place(pieces):
    net, optimizer, run, objective, batches, _ = pieces
    fit = lambda *args: training.fit(*args, batches, epochs=1, progress=False)
    with pytest.raises(TypeError, match=r"fit takes an objective first.*got a Functional"):
        fit(net, optimizer, run)
    with pytest.raises(TypeError, match="optimizer second"):
        fit(objective, run, optimizer)
    with pytest.raises(TypeError, match=r"TrainState\.create"):
        fit(objective, optimizer, run.params)
    with pytest.raises(TypeError, match=r"supervised takes net = fn\.functionalize"):
        training.supervised(Dense(4, 2), mse)
    with pytest.raises(ValueError, match="evaluation is an iterator"):
        training.fit(
            objective, optimizer, run, batches, epochs=2, evaluation=iter(batches), progress=False
        )
