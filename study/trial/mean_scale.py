"""Right shape, mean scale: what a network scores that restores the shape of every image exactly and
guesses its scale by the mean.

A network sees an image normalised by its own minimum and maximum, and its target is normalised by
the hidden minimum and maximum of the image in focus. In the units of what it sees the image in
focus is S, and its target is ``gain * S + offset``: two numbers that differ from image to image and
that no image shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.data.store import Resolution, Store
from study.score import Score
from study.trial.evaluation import (
    Measured,
    in_focus_targets,
    measure,
    measure_own,
    score_fields,
    to_evaluation_resolution,
)


@dataclass(frozen=True)
class TrainingImages:
    """The images that a network learns from.

    Parameters
    ----------
    store : Store
        Holds them.
    fields : sequence of int
        Indices of their fields.
    held_out : sequence of sequences of int, optional
        For each field of the store the levels (as indices) that are not trained on.
    """

    store: Store
    fields: Sequence[int]
    held_out: Sequence[Sequence[int]] | None = None

    def mean_scales(self, store: Store, resolution: Resolution) -> np.ndarray:
        """Return the mean gain and offset over these images at each level of a store, shape
        (levels, 2).

        Where the store is of another kind, or has levels that these images lack, its defocused
        levels are given the mean over all defocused ones of these.
        """
        scales = _scales(self.store, resolution)
        for field, levels in enumerate(self.held_out or []):
            scales[field, levels] = np.nan
        scales = scales[list(self.fields)]
        overall = np.nanmean(scales[:, self.store.defocused_indices], axis=(0, 1))
        same_kind = self.store.layout.kind == store.layout.kind
        means = np.tile(overall, (len(store.levels), 1))
        for index, level in enumerate(store.levels):
            if index == store.in_focus_index:
                means[index] = 1.0, 0.0  # what is seen is the target
            elif same_kind and level in self.store.levels:
                means[index] = np.nanmean(scales[:, self.store.levels.index(level)], axis=0)
        return means


def score_mean_scale(
    training: TrainingImages,
    store: Store,
    *,
    resolution: Resolution,
    evaluation: Resolution,
    fields: Sequence[int],
    eval_split: str,
    held_out: Sequence[Sequence[int]] | None = None,
) -> Score:
    """Score restorations of the right shape at the mean scale; see
    `study.trial.evaluation.score_model`.

    Parameters
    ----------
    training : TrainingImages
        Whose mean gain and offset at each level every image is given.
    store, resolution, evaluation, fields, eval_split, held_out
        As for `study.trial.evaluation.score_model`.
    """
    scales, means = _scales(store, resolution), training.mean_scales(store, resolution)

    def measure_field(field: int, levels: np.ndarray) -> Measured:
        target, own_range, evaluation_target, evaluation_range = in_focus_targets(
            store, resolution, evaluation, field, len(levels)
        )
        gain, offset = scales[field, levels].T[:, :, None, None]
        mean_gain, mean_offset = means[levels].T[:, :, None, None]
        restored = (mean_gain * (target - offset) / gain + mean_offset).astype(np.float32)
        return measure_own(target, restored), measure(
            evaluation_target,
            to_evaluation_resolution(restored, own_range, evaluation_range, evaluation),
        )

    return score_fields(measure_field, store, fields, eval_split, held_out)


def _scales(store: Store, resolution: Resolution) -> np.ndarray:
    """Return the gain and offset of every image, shape (field, level, 2)."""
    low, high = np.moveaxis(np.array(store.ranges(resolution)), -1, 0)
    focus_low, focus_high = (bounds[:, [store.in_focus_index]] for bounds in (low, high))
    span = focus_high - focus_low
    return np.stack([(high - low) / span, (low - focus_low) / span], axis=-1)
