"""Row-sparse Adam moves and remembers the touched rows alone, as PyTorch's does."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.tracing import CountingJit


@pytest.mark.parametrize("dense", [False, True], ids=["rows", "dense"])
def test_sparse_adam_equals_pytorch(dense, x64, rng):
    torch = pytest.importorskip("torch")
    table = rng.normal(size=(7, 3))
    theirs = torch.tensor(table, requires_grad=True)
    options = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}
    reference = torch.optim.SparseAdam([theirs], **options)
    optimizer = optim.sparse_adam(**options)
    params = {"table": jnp.asarray(table)}
    state = optimizer.init(params)

    @CountingJit
    def step(params, state, rows, values):
        sparse = optim.RowSparse(rows, values)
        grads = sparse.add_to(jnp.zeros_like(params["table"])) if dense else sparse
        updates, state = optimizer.update({"table": grads}, state, params)
        return optim.apply_updates(params, updates), state

    for _ in range(8):
        rows, values = rng.integers(0, 7, 4), rng.normal(size=(4, 3))
        theirs.grad = torch.sparse_coo_tensor(rows[None], values, (7, 3), check_invariants=True)
        reference.step()
        params, state = step(params, state, rows, values)
        np.testing.assert_allclose(params["table"], theirs.detach(), rtol=1e-10)
    assert step.traces == 1
