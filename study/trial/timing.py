"""How long a training step of a configuration takes on this device: what budgets in seconds, and plans, rest on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras

from study.data.store import Store
from study.trial.task import TrialTask
from study.trial.training import compile_model, epoch_batches, limit_threads

WARM_UP_STEPS = 5
STEPS = 20


def time_steps(task: TrialTask) -> dict[str, Any]:
    """Train some steps and forget them.

    Returns
    -------
    dict
        ``seconds_per_step`` after a warm-up, and ``steps_per_epoch``.
    """
    limit_threads(task.threads)
    keras.backend.clear_session()
    store = Store(Path(task.store))
    model, batches = compile_model(task, store), epoch_batches(task, store, epoch=0)
    model.fit(batches, epochs=1, steps_per_epoch=min(WARM_UP_STEPS, len(batches)), shuffle=False, verbose=0)
    steps = min(STEPS, len(batches))
    started = time.perf_counter()
    model.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
    return {"seconds_per_step": (time.perf_counter() - started) / steps, "steps_per_epoch": len(batches)}
