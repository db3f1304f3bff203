"""What a trial leaves in its folder: its checkpoint, its weights and their description, as plain
arrays and JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from study.files import new_file
from study.trial.task import TrialTask

CHECKPOINT = "checkpoint.npz"
WEIGHTS = "weights.npz"
DESCRIPTION = "model.json"
STOPPED = "stopped.npz"  # the last weights of a trial that was stopped early


def save_checkpoint(folder: Path, model: keras.Model, *, epochs: int, trained_s: float) -> None:
    """Keep a compiled model and its optimiser, the epochs that are done, and the seconds that they
    took.
    """
    with new_file(folder / CHECKPOINT) as path:
        np.savez(path, np.array([epochs, trained_s]), *map(np.asarray, _state(model)))


def load_checkpoint(folder: Path, model: keras.Model) -> tuple[int, float]:
    """Bring a compiled model to where its checkpoint is, if there is one; return the epochs done
    and the seconds that they took.
    """
    if not (folder / CHECKPOINT).is_file():
        return 0, 0.0
    with np.load(folder / CHECKPOINT, allow_pickle=False) as arrays:
        progress, *state = (arrays[name] for name in arrays.files)
    for variable, value in zip(_state(model), state, strict=True):
        variable.assign(value)
    return int(progress[0]), float(progress[1])


def save_weights(path: Path, model: keras.Model) -> None:
    """Write a model's weights."""
    with new_file(path) as partial:
        np.savez(partial, *model.get_weights())


def save_model(model: keras.Model, task: TrialTask, *, fingerprint: str) -> None:
    """Leave a trained model in its trial's folder: weights, and what belongs to them, the
    ``hyperparameters``, ``resize``, ``normalisation`` and fingerprint of the ``store``.
    """
    folder = Path(task.folder)
    save_weights(folder / WEIGHTS, model)
    described = {
        "hyperparameters": task.hyperparameters,
        "store": fingerprint,
        "resize": task.resize,
        "normalisation": task.normalisation,
    }
    with new_file(folder / DESCRIPTION) as path:
        path.write_text(json.dumps(described, indent=1), encoding="utf-8")


def _state(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
