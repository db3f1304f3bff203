"""What a configuration takes of this device, in time and memory: what budgets in seconds, plans,
and shares of a GPU rest on.
"""

from __future__ import annotations

import resource
import threading
import time
from dataclasses import dataclass
from typing import Any

import keras

from study.data.store import Store
from study.trial.device import gpu_busy, gpu_peak_bytes, gpu_total_mib, limit_gpu_memory
from study.trial.evaluation import score_model
from study.trial.steps import steps_an_epoch
from study.trial.task import TrialTask
from study.trial.threads import limit_threads
from study.trial.training import (
    compile_model,
    epoch_batches,
    make_task_restore,
    open_task_store,
    score_rung,
)

WARM_UP_STEPS = 5
STEPS = 20
PLANNED_STEPS = 8  # of a plan, which measures several configurations
MEASURED_STEPS = 100  # between two looks at the clock, while the use of a GPU is measured
MEASURED_S = 5.0
SAMPLED_EVERY_S = 0.2


@dataclass(frozen=True)
class Profile:
    """What a trial of a configuration takes on this device.

    Parameters
    ----------
    setup_s : building and tracing the network, before the first step.
    step_s : of one training step.
    rung_s : the score after an epoch.
    image_s : of the final score, for each image.
    parameters : of the network.
    memory_bytes : that the process took at most.
    """

    setup_s: float
    step_s: float
    rung_s: float
    image_s: float
    parameters: int
    memory_bytes: int


def time_steps(task: TrialTask) -> dict[str, Any]:
    """Train some steps and forget them.

    Returns
    -------
    dict
        ``seconds_per_step`` after a warm-up, and ``steps_per_epoch``.
    """
    model, batches, store = _begin(task)
    model.fit(
        batches,
        epochs=1,
        steps_per_epoch=min(WARM_UP_STEPS, len(batches)),
        shuffle=False,
        verbose=0,
    )
    return {
        "seconds_per_step": _time_steps(model, batches, STEPS),
        "steps_per_epoch": steps_an_epoch(task, store),
    }


def profile_trial(task: TrialTask) -> Profile:
    """Measure every part of a trial on a few steps and one field."""
    began = time.perf_counter()
    model, batches, store = _begin(task)
    model.fit(batches, epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    setup_s = time.perf_counter() - began
    step_s = _time_steps(model, batches, PLANNED_STEPS)
    restore = make_task_restore(model, task, precision=task.precision)
    field, rung_s = task.eval_fields[0], 0.0
    if task.rung_images:
        for _ in range(2):  # the first traces the network
            rung_s = score_rung(restore, store, task)["rung_seconds"]
    restore = make_task_restore(model, task)
    began = time.perf_counter()
    score_model(
        restore,
        store,
        resolution=task.resolution,
        evaluation=task.evaluation,
        fields=[field],
        eval_split=task.eval_split,
    )
    image_s = (time.perf_counter() - began) / len(store.levels)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Profile(setup_s, step_s, rung_s, image_s, int(model.count_params()), memory)


def measure_share(task: TrialTask) -> dict[str, float] | None:
    """Train some steps of a task on a GPU of its own, and say what they took of it; building and
    tracing the network do not count.

    Returns
    -------
    dict or None
        ``bytes`` of memory at most, the GPU's ``total_bytes``, and ``busy``, the share of the time
        in which it computed; None where there is no GPU that can be measured.
    """
    total = gpu_total_mib()
    if total is None:
        return None
    model, batches, _ = _begin(task)
    _time_steps(model, batches, MEASURED_STEPS)  # the first traces and compiles
    busy: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            if (share := gpu_busy()) is not None:
                busy.append(share)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    began = time.monotonic()
    while time.monotonic() - began < MEASURED_S:
        _time_steps(model, batches, MEASURED_STEPS)
    ended.set()
    sampler.join()
    return {
        "bytes": float(gpu_peak_bytes()),
        "total_bytes": float(total * 2**20),
        "busy": sum(busy) / len(busy) if busy else 1.0,
    }


def _begin(task: TrialTask) -> tuple[keras.Model, Any, Store]:
    limit_threads(task.threads)
    limit_gpu_memory(task.gpu_share)
    keras.backend.clear_session()
    store = open_task_store(task)
    return compile_model(task, store), epoch_batches(task, store, epoch=0), store


def _time_steps(model: keras.Model, batches: Any, steps: int) -> float:
    steps = min(steps, len(batches))
    began = time.perf_counter()
    model.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
    return (time.perf_counter() - began) / steps
