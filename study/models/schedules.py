"""Learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


def schedule_of(hyperparameters: Mapping[str, Any], *, steps_per_pass: int, steps: int) -> Any:
    """Return the rate that a configuration names by ``schedule`` and ``learning_rate``; the paper's
    if it names none.

    ``cosine`` falls from the rate to 0 over all epochs (Loshchilov and Hutter, 2017), after a
    warm-up of a twentieth of them.
    """
    rate = float(hyperparameters.get("learning_rate", 1e-3))
    if hyperparameters.get("schedule", "paper") == "paper":
        return PaperSchedule(steps_per_epoch=steps_per_pass, initial_rate=rate)
    warm = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        rate / 100, max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )


class PaperSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The paper's rate: Keras 2's ``Adam(decay=1e-3)``, and a halving every 15 epochs on top of it
    (section 5.3).

    ``rate = 1e-3 * 0.5 ** floor(epoch / 15) / (1 + 1e-3 * iteration)``, where the iteration is
    counted over all epochs. The paper does not say which epochs are halved at; floor(epoch / 15),
    counted from 0, is our reading.

    Parameters
    ----------
    steps_per_epoch : int
        Iterations in an epoch.
    initial_rate, decay : float
        The rate at iteration 0, and its decay for each iteration.
    halving_epochs : int
        Epochs between halvings.
    """

    def __init__(
        self,
        *,
        steps_per_epoch: int,
        initial_rate: float = 1e-3,
        decay: float = 1e-3,
        halving_epochs: int = 15,
    ) -> None:
        super().__init__()
        self.steps_per_epoch, self.initial_rate = steps_per_epoch, initial_rate
        self.decay, self.halving_epochs = decay, halving_epochs

    def __call__(self, step: Any) -> Any:
        """Return the rate of iteration `step`."""
        iteration = ops.cast(step, "float32")
        halvings = ops.floor(iteration / (self.steps_per_epoch * self.halving_epochs))
        return self.initial_rate * ops.power(0.5, halvings) / (1.0 + self.decay * iteration)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "steps_per_epoch": self.steps_per_epoch,
            "initial_rate": self.initial_rate,
            "decay": self.decay,
            "halving_epochs": self.halving_epochs,
        }
