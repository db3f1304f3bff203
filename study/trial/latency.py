"""How long a network takes to restore one image."""

from __future__ import annotations

import time

import numpy as np

from study.trial.evaluation import Restore

ROUNDS = 5


def latency_ms(restore: Restore, size: int) -> float:
    """Return the milliseconds that one image, `size` pixels a side, takes on this device: the
    median of `ROUNDS`, after one that is not counted.
    """
    image = np.zeros((1, size, size), np.float32)
    restore(image)
    elapsed = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        restore(image)
        elapsed.append(time.perf_counter() - began)
    return 1000 * float(np.median(elapsed))
