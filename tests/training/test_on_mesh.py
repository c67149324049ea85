"""fit on a mesh: the history and the parameters of one device, whatever the rules, also resumed on another mesh."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F

SAMPLES, BATCH, EPOCHS = 22, 8, 2  # a last batch of six, which four devices do not divide

RULES = {
    "data": {},
    "fsdp": {"*.weight": parallel.fsdp(smallest=1)},
    "tensor": {
        "0.weight": ("model", None), "0.bias": ("model",), "3.weight": (None, "model"),
    },
}  # fmt: skip
MESHES = {"data": {"data": 4}, "fsdp": {"data": 4}, "tensor": {"data": 2, "model": 2}}


def mesh_of(count=4, **axes):
    return parallel.mesh(**(axes or {"data": count}), devices=jax.devices()[:count])


def arrays():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((SAMPLES, 6), np.float32)
    return {"x": x, "y": (x[:, 0] > 0).astype(np.int32) + (x[:, 1] > 0)}


def loader(**options):
    options = {"batch_size": BATCH, "shuffle": True, "seed": 1, **options}
    return data.DataLoader(data.ArrayDataset(arrays()), **options)


def model():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


NET = fn.functionalize(model())
MOMENTUM = optim.sgd(0.2, momentum=0.9)
TRACES = []


def loss(output, target, *, where=None):
    TRACES.append(1)
    return F.cross_entropy(output, target, where=where)


OBJECTIVE = training.supervised(
    NET, loss, inputs="x", targets="y", metrics={"accuracy": training.accuracy}
)


def start(net=NET, optimizer=MOMENTUM):
    return training.TrainState.create(net, optimizer, jax.random.key(0))


def fit(objective=OBJECTIVE, run=None, batches=None, **options):
    options = {"epochs": EPOCHS, "progress": False, "evaluation": loader(shuffle=False)} | options
    run = start() if run is None else run
    return training.fit(objective, MOMENTUM, run, batches or loader(), **options)


@pytest.fixture(scope="module")
def alone():
    return fit()


def close(one, other):
    """Sums over devices are in another order; 1e-5 is what is promised."""
    (run, history), (other_run, other_history) = one, other
    leaves = lambda run: jax.tree.leaves((run.params, run.state, run.opt_state, run.step))
    for a, b in zip(leaves(run), leaves(other_run), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-5)
    assert len(history.records) == len(other_history.records)
    for a, b in zip(history.records, other_history.records, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"seconds"}:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", RULES)
def test_the_history_is_that_of_one_device(name, alone, request):
    if name == "data" and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: other tests here are data parallel, too")
    mesh, rules = mesh_of(**MESHES[name]), RULES[name]
    run = start()
    found, history = fit(run=run, mesh=mesh, rules=rules)
    close((found, history), alone)
    expected = parallel.shard(NET, mesh, rules)
    optimizer = parallel.shard_optimizer(MOMENTUM, expected)
    by_hand = start(expected, optimizer)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(by_hand), strict=True):
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(run))  # the caller's
    means = training.evaluate(OBJECTIVE, found, loader(shuffle=False), mesh=mesh, rules=rules)
    np.testing.assert_allclose(means["loss"], alone[1].series("eval/loss")[-1], rtol=1e-5)


def test_another_fit_compiles_nothing_again_and_goes_on():
    options = {"mesh": mesh_of(), "rules": RULES["fsdp"]}
    run, _ = fit(epochs=1, **options)
    once = len(TRACES)
    run, _ = fit(run=run, epochs=3, **options)
    training.evaluate(OBJECTIVE, run, loader(shuffle=False), **options)
    # the metrics' names are read anew, on abstract arrays, for training and each evaluation; no step is
    assert len(TRACES) - once <= 5
    assert int(run.step) == 12


def test_a_model_sharded_by_hand_needs_neither_word(alone):
    net = parallel.shard(NET, mesh_of(), RULES["fsdp"])
    optimizer = parallel.shard_optimizer(MOMENTUM, net)
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    run = start(net, optimizer)
    found, _ = training.fit(objective, optimizer, run, loader(), epochs=EPOCHS, progress=False)
    close((found, alone[1]), alone)
    assert {str(leaf.sharding.spec) for leaf in jax.tree.leaves(found.params)} == {
        str(P()), str(P("data")), str(P(None, "data")),
    }  # fmt: skip
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(run), strict=True):
        assert a.sharding == b.sharding


def test_batch_norm_uses_the_whole_batch():
    net = fn.functionalize(
        nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 3))
    )
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    options = lambda: {"batches": loader(drop_last=True), "evaluation": None}
    expected = fit(objective, start(net), **options())
    close(fit(objective, start(net), **options(), mesh=mesh_of()), expected)


class Stop(Exception):
    pass


class Ending:
    """A source that breaks off before a batch of each epoch, from some epoch on."""

    def __init__(self, batches, after, begins=1):
        self.batches, self.after, self.begins = batches, after, begins
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        for number, batch in enumerate(self.batches):
            if number == self.after and self.epoch >= self.begins:
                raise Stop
            yield batch

    def __getattr__(self, name):
        return getattr(self.__dict__["batches"], name)


def test_a_run_goes_on_on_another_mesh(tmp_path, alone):
    def part(name, batches, count, **axes):
        mesh = mesh_of(count, **axes)
        with fn.checkpoint.Checkpointer(tmp_path, every=1) as checkpointer:
            options = {"checkpoint": checkpointer, "mesh": mesh, "rules": RULES[name]}
            with pytest.raises(Stop):
                fit(batches=batches, **options)
            return checkpointer.latest().step

    assert part("data", Ending(loader(), 2), 4, data=4) == 2
    assert part("fsdp", Ending(loader(), 1, begins=2), 2, data=2) == 4
    close(fit(checkpoint=tmp_path), alone)  # and on one device


class ByHand:
    def __init__(self, net):
        self.net = net

    def __call__(self, params, state, batch, key, train):
        output, state = self.net.apply(params, state, batch["x"], key=key, train=train)
        where = batch.get("valid")
        loss = F.cross_entropy(output, batch["y"], where=where)
        return loss, ({"loss": loss}, state)


def test_an_objective_written_by_hand(alone):
    mesh = mesh_of()
    objective = lambda net: lambda *args: ByHand(net)(*args)
    with pytest.raises(TypeError, match=r"net = parallel\.shard\(net, mesh, rules\)"):
        fit(objective(NET), mesh=mesh, rules=RULES["fsdp"])
    with pytest.raises(ValueError, match="6 rows, which the 4 devices"):
        fit(objective(NET), mesh=mesh)
    batches = lambda: loader(pad_last=True)
    evaluation = loader(pad_last=True, shuffle=False)
    expected = [
        value
        for record in alone[1].records
        for value in (record["train/loss"], record["eval/loss"])
    ]
    _, history = fit(objective(NET), batches=batches(), evaluation=evaluation, mesh=mesh)
    found = [
        value for record in history.records for value in (record["train/loss"], record["eval/loss"])
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    net = parallel.shard(NET, mesh, RULES["fsdp"])
    run = start(net, parallel.shard_optimizer(MOMENTUM, net))
    after, _ = fit(objective(net), run, batches(), evaluation=None, mesh=mesh)
    close((after, alone[1]), alone)
    assert after.params["0"]["weight"].sharding == run.params["0"]["weight"].sharding


def test_batches_of_any_structure_are_seen_as_they_come(alone):
    whole = arrays()
    pairs = data.DataLoader(
        data.ArrayDataset((whole["x"], whole["y"])), BATCH, shuffle=True, seed=1
    )
    objective = training.supervised(
        NET, F.cross_entropy, inputs=lambda batch: batch[0], targets=lambda batch: batch[-1]
    )
    _, history = fit(objective, batches=pairs, evaluation=None, mesh=mesh_of(), epochs=1)
    assert history.series("train/loss")[0] == pytest.approx(
        alone[1].series("train/loss")[0], rel=1e-5
    )


def test_batches_on_the_mesh_already(alone):
    mesh = mesh_of(2)
    rows = parallel.batch_sharding(mesh)
    there = data.prefetch_to_device(loader(), sharding=rows, pad=True)
    close((fit(batches=there, mesh=mesh, evaluation=None)[0], alone[1]), alone)
    batches = [jax.device_put(batch, rows) for batch in loader()]
    (run, _), (other, _) = (
        fit(**options, epochs=1, evaluation=None)
        for options in ({"batches": batches, "mesh": mesh}, {})
    )
    close((run, alone[1]), (other, alone[1]))


def test_a_mesh_with_explicit_axes(alone):
    mesh = jax.make_mesh((4,), ("data",))
    close(fit(mesh=mesh), alone)
    with pytest.raises(ValueError, match="automatic axes"):
        fit(mesh=mesh, rules=RULES["fsdp"])


def test_mistakes():
    with pytest.raises(ValueError, match="pass mesh="):
        fit(rules={})
    sharded = parallel.shard(NET, mesh_of(), {})
    objective = training.supervised(sharded, F.cross_entropy, inputs="x", targets="y")
    for options in ({"rules": {}}, {"mesh": mesh_of(2)}):
        with pytest.raises(ValueError, match="sharded before"):
            fit(objective, **options)
    with pytest.raises(ValueError, match=r"shard=\(0, 2\).*shard=sharding"):
        fit(batches=loader(shard=(0, 2), drop_last=True), mesh=mesh_of())
