"""What a trial may cost, and how many epochs a search is expected to run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from study.config import SearchConfig, StudyConfig, TrainingConfig
from study.models.autoencoder import count_training_operations
from study.tune.budget import expected_course


def test_the_operations_of_training_are_counted_by_hand() -> None:
    hyperparameters = {
        "family": "unet",
        "image_size": 128,
        "crop_size": 64,
        "depth": 1,
        "unet_filters": 8,
        "growth": 1,
        "convolutions": 1,
        "kernel": 3,
        "activation": "relu",
        "normalisation": "none",
        "skip": "none",
        "residual": True,
        "upsampling": "resize",
        "dropout": 0.0,
    }
    # products of the convolutions at 64 px: 1 -> 8 at 64, 8 -> 8 at 32, after the up-sampling 8 ->
    # 8 and 8 -> 8 at 64, 8 -> 1 at 64
    forward = 2 * 9 * (8 * 64**2 + 64 * 32**2 + 2 * 64 * 64**2 + 8 * 64**2)
    assert count_training_operations(hyperparameters, patches=10) == 10 * 3 * forward


def test_the_epochs_that_asha_leaves_of_a_search() -> None:
    config = StudyConfig(
        training=TrainingConfig(epochs=24),
        search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=1),
    )
    assert expected_course(config) == (24, 1)  # one alone is compared with none
    two = replace(config, search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=2))
    # the second is stopped at its first rung if the first is better: half of the time; else both go
    # on, in the same order, to the end
    epochs, share = expected_course(two)
    assert share == pytest.approx(0.75, abs=0.05)
    assert epochs == pytest.approx((24 + 24 + 24 + 1) / 4, abs=1.2)
    many = replace(config, search=SearchConfig(grace_epochs=1, reduction_factor=3, trials=400))
    assert expected_course(many)[0] == pytest.approx(1 + 2 / 3 + 6 / 9 + 15 / 27, rel=0.2)
    epochs, share = expected_course(many, reached=9)  # the last rung is behind it
    assert (epochs, share) == (24, 1)
    assert expected_course(replace(config, search=SearchConfig(scheduler="none"))) == (24, 1)
