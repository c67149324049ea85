"""A short fingerprint of an order, by which a saved position knows the order that it belongs to."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from funcnet.data.order.batch_plan import BatchPlan, ListBatchPlan

__all__ = ["order_fingerprint"]

_PROBES, _PROBE = 32, 128  # of an order without a table: so many places, so many indices at each


def order_fingerprint(plan: BatchPlan | ListBatchPlan) -> str:
    """Return a few characters that another order does not have.

    Args:
        plan: of an epoch. A table of indices is read whole, an order that is computed in 32 places.

    Example:
        >>> from funcnet.data.order.fingerprint import order_fingerprint
        >>> from funcnet.data.order.batch_plan import ListBatchPlan
        >>> a, b = ListBatchPlan([[0, 1], [2]], 3), ListBatchPlan([[0], [1, 2]], 3)
        >>> order_fingerprint(a) == order_fingerprint(a), order_fingerprint(a) == order_fingerprint(b)
        (True, False)
    """
    digest = blake2b(digest_size=8)
    for part in _parts(plan):
        digest.update(np.ascontiguousarray(part, np.int64).data)
    return digest.hexdigest()


def _parts(plan: BatchPlan | ListBatchPlan) -> Sequence[Any]:
    if isinstance(plan, ListBatchPlan):
        lists = [np.asarray(indices) for indices in plan.lists]
        return [np.array([len(indices) for indices in lists], np.int64), *lists]
    order = plan.order
    if isinstance(order, (np.ndarray, list, tuple)):
        return [order]
    starts = np.linspace(0, max(len(order) - _PROBE, 0), _PROBES).astype(np.int64).tolist()
    return [np.array([len(order)]), *(order[start : start + _PROBE] for start in starts)]
