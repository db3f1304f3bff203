"""What one trial is asked, and what it answers: plain values that travel between processes and into
the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from study.data.store import Resolution
from study.score import Score

# a target that is normalised by another image's range leaves [0, 1]
OUTPUT_ACTIVATIONS = {"own": "sigmoid", "pair": "linear"}


@dataclass(frozen=True)
class TrialTask:
    """One configuration to train and to score.

    Parameters
    ----------
    hyperparameters : a configuration of a search space.
    store : folder of the prepared images.
    folder : where the trial keeps its checkpoint and leaves its weights and example restorations.
    train_fields, eval_fields : indices of the fields that it learns from, and of those that it is
        scored on.
    eval_split : name of the second, validation or test.
    resize, evaluation_size : how images are brought to the trial's size, and the side of the
        evaluation resolution.
    epochs, batch_size, patches_per_image, images_per_epoch : the budget; all patches, and all
        images, where the last two are not given.
    steps : the budget in steps of the optimiser, which its epochs share; all steps of all epochs if
        not given.
    precision : what the network computes in while it is trained, and for its rung score: float32 or
        mixed_bfloat16. Its score is measured in float32.
    inference : whole or stitched.
    rung_images : images scored after each epoch; 0 for none.
    rung_seed : which ones: the same for all trials of a study.
    seed : of the weights, the order of the batches, and the patches.
    threads : of the processor; the same number gives the same numbers.
    held_out : for each field of the store the indices of the levels that are not trained on, and
        alone are scored; without it a field is trained on, or scored, at every level.
    objective, level_weights : what the rung score and the score are summed up to, see
        `study.objectives`.
    gpu_share : the share of a GPU's memory that it may take; no bound if not given.
    normalisation : what a pair of images is to the network, see `study.data.store.Store`.
    node_folder : where this machine keeps a copy of the store to read; the store itself is read if
        not given.
    """

    hyperparameters: dict[str, Any]
    store: str
    folder: str
    train_fields: list[int]
    eval_fields: list[int]
    eval_split: str
    resize: str
    evaluation_size: int
    epochs: int
    batch_size: int
    patches_per_image: int | None
    inference: str
    rung_images: int
    rung_seed: int
    seed: int
    threads: int
    held_out: list[list[int]] | None = None
    objective: str = "ssim"
    level_weights: dict[int, float] | None = None
    precision: str = "float32"
    images_per_epoch: int | None = None
    steps: int | None = None
    gpu_share: float | None = None
    node_folder: str | None = None
    normalisation: str = "own"

    @property
    def resolution(self) -> Resolution:
        """The size that the network sees images at."""
        return Resolution(int(self.hyperparameters["image_size"]), self.resize)

    @property
    def output_activation(self) -> str:
        """What the network ends in."""
        return OUTPUT_ACTIVATIONS[self.normalisation]

    @property
    def evaluation(self) -> Resolution:
        """The resolution at which all models are compared."""
        return Resolution(self.evaluation_size, "antialiased")


@dataclass(frozen=True)
class EpochReport:
    """What a trial says after an epoch.

    Parameters
    ----------
    epoch : 1 after the first.
    metrics : loss, learning_rate, seconds, and the rung score `ssim`, `psnr`, `objective` and its
        `rung_seconds` where one was asked for.
    cost : parameters, gflop of one image, steps and seconds of training so far; after the last
        epoch also latency_ms of one image.
    score : after the last epoch.
    """

    epoch: int
    metrics: dict[str, float]
    cost: dict[str, float]
    score: Score | None = None


@dataclass(frozen=True)
class PostHocTask:
    """One question about one trained network.

    Parameters
    ----------
    question : transfer or stitching.
    folder : what the trial left.
    store : the prepared images to ask it with.
    fields, levels : which of them (indices); a transfer takes every level.
    evaluation_size : side of the evaluation resolution.
    inference : whole or stitched, for a transfer.
    eval_split : name of the images.
    threads : of the processor.
    gpu_share, node_folder : as for a `TrialTask`.
    """

    question: str
    folder: str
    store: str
    fields: list[int]
    levels: list[int]
    evaluation_size: int
    inference: str
    eval_split: str
    threads: int
    gpu_share: float | None = None
    node_folder: str | None = None
