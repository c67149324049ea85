"""Two processes go on with the run of one; where one is interrupted both end; one goes on with theirs."""

import json

import numpy as np
import pytest

from funcnet import training
from tests.several_processes import run_together
from tests.training.test_metrics_of_a_run import METRICS, NET, OBJECTIVE, RUN, samples
from tests.training.test_on_mesh import RULES, Ending, Stop, close, fit, loader, mesh_of

EPOCHS = 5


def test_two_processes_and_one_make_one_run(tmp_path):
    expected = fit(epochs=EPOCHS)
    with pytest.raises(Stop):  # after a whole epoch
        fit(
            batches=Ending(loader(), 0, begins=2),
            checkpoint=tmp_path / "run",
            mesh=mesh_of(2),
            rules=RULES["data"],
        )
    said = run_together("tests.training.mesh_child", 2, 2, tmp_path, tmp_path)
    found = [json.loads((tmp_path / f"found-{process}.json").read_text()) for process in range(2)]
    for one in found:
        assert one["first"] == [True, 5]  # asked at the step after the third, answered at the next
        assert one["spread"] == ["0.weight", "3.weight"]
        losses = [
            [record[name] for record in one["records"]] for name in ("train/loss", "eval/loss")
        ]
        records = expected[1].records[:4]
        wanted = [[record[name] for record in records] for name in ("train/loss", "eval/loss")]
        np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    # the first draws and prints, the other is silent
    assert "epoch 4/4: train/accuracy" in said[0]
    assert "epoch" not in said[1]
    close(fit(epochs=EPOCHS, checkpoint=tmp_path / "run"), expected)


def test_two_processes_evaluate_and_predict_as_one(tmp_path):
    run_together("tests.training.averages_child", 2, 2, tmp_path, tmp_path)
    found = [json.loads((tmp_path / f"found-{process}.json").read_text()) for process in range(2)]
    assert found[0] == found[1]
    metrics = {name: METRICS[name] for name in ("acc", "matrix", "score")}
    expected = training.evaluate(OBJECTIVE, RUN, [samples()], metrics=metrics)
    assert found[0]["values"].keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[0]["values"][name], value, rtol=2e-6, err_msg=name)
    outputs = NET.apply(RUN.params, RUN.state, samples()["x"])[0]
    np.testing.assert_allclose(found[0]["outputs"], outputs, rtol=1e-5)
