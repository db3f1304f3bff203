"""How many steps a task trains for: the one place where images and batches become steps."""

from __future__ import annotations

from dataclasses import replace

from study.data.batches import patches_of, steps_per_epoch, training_images
from study.data.store import Store
from study.models.autoencoder import patch_size_of
from study.trial.task import TrialTask


def batch_size_of(task: TrialTask) -> int:
    """Return the patches in one step: the configuration's, or the study's."""
    return int(task.hyperparameters.get("batch_size", task.batch_size))


def steps_a_pass(task: TrialTask, store: Store) -> int:
    """Return the steps in which a task sees every image that it trains on once."""
    return _steps(task, _images(task, store))


def steps_an_epoch(task: TrialTask, store: Store) -> int:
    """Return the steps of one epoch, for which `images_per_epoch` may be drawn from all images.

    Parameters
    ----------
    task : TrialTask
        What is trained.
    store : Store
        Its images, or others at the same levels.
    """
    images = _images(task, store)
    return _steps(task, min(task.images_per_epoch or images, images))


def steps_in_all(task: TrialTask, store: Store) -> int:
    """Return the steps that a task is trained for: its budget in steps, or all of its epochs."""
    return task.epochs * steps_an_epoch(task, store) if task.steps is None else task.steps


def steps_of_epoch(task: TrialTask, store: Store, epoch: int) -> int:
    """Return the steps of one epoch, counted from 0: where a budget is in steps, the epochs share
    them evenly.
    """
    if task.steps is None:
        return steps_an_epoch(task, store)
    return task.steps * (epoch + 1) // task.epochs - task.steps * epoch // task.epochs


def within_steps(
    task: TrialTask, steps: int, *, steps_per_epoch: int, epochs: int = 1
) -> TrialTask:
    """Return a task with a budget in steps, in as few epochs as hold them; none is longer than it
    was.

    Parameters
    ----------
    task : TrialTask
        What is trained.
    steps : int
        For so many steps in all.
    steps_per_epoch : int
        Steps that its epochs have, see `steps_an_epoch`.
    epochs : int
        At least so many epochs; each is of one step at least.
    """
    epochs = max(epochs, -(-steps // steps_per_epoch))
    return replace(task, steps=max(steps, epochs), epochs=epochs)


def _images(task: TrialTask, store: Store) -> int:
    return len(training_images(store, task.train_fields, task.held_out))


def _steps(task: TrialTask, images: int) -> int:
    side = task.resolution.size // patch_size_of(task.hyperparameters)
    patches = patches_of(side, task.patches_per_image)
    return steps_per_epoch(images, patches=patches, batch_size=batch_size_of(task))
