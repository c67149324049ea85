"""Two processes with two devices each train as one device does."""

import numpy as np

from funcnet.core.paths import leaves_with_paths
from tests.parallel.example_models import ALL, EXAMPLES, FEW, is_possible, whole_run
from tests.several_processes import run_together

STRATEGIES = ("data", "fsdp", "tensor")


def test_processes_train_as_one_device(tmp_path, request, monkeypatch, x64):
    monkeypatch.setenv("JAX_ENABLE_X64", "true")
    full = request.config.getoption("grid") == "full"
    steps = ALL if full else FEW
    pairs = ["lstm_lm:fsdp"]
    if full:
        pairs = [f"{name}:{s}" for name in EXAMPLES for s in STRATEGIES if is_possible(name, s)]
    limit = 300.0 * len(pairs)
    arguments = (tmp_path, steps, *pairs)
    run_together("tests.parallel.model_process", 2, 2, tmp_path, *arguments, limit=limit)
    for pair in pairs:
        name, _, strategy = pair.partition(":")
        expected, run = whole_run(name, steps)
        found = dict(np.load(tmp_path / f"{name}-{strategy}.npz"))
        # sums over devices are made in another order
        np.testing.assert_allclose(found.pop("losses"), expected, rtol=1e-9)
        whole = dict(leaves_with_paths({"params": run.params, "state": run.state}))
        assert found.keys() == whole.keys()
        for path, array in whole.items():
            np.testing.assert_allclose(found[path], array, rtol=1e-9, atol=1e-9, err_msg=path)
