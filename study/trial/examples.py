"""Example pictures of a trial: what its figures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from study.data.store import Resolution, Store
from study.files import new_file
from study.trial.evaluation import Restore, restore_images

PLACES = (0.0, 8 / 33, 15 / 33, 24 / 33, 1.0)  # among the levels: z 0, 8, 15, 24, 33 of BBBC006


def save_examples(
    path: Path, restore: Restore, store: Store, resolution: Resolution, *, fields: Sequence[int]
) -> None:
    """Keep the middle one of some fields, defocused at five levels and in focus, and restored, at
    the model's own size.

    Parameters
    ----------
    path : Path
        The file: ``defocused``, ``restored`` (both shape (level, Y, X)) and ``in_focus``, uint8;
        ``levels`` and the name of the ``field``.
    restore : callable
        Images in [0, 1], shape (N, S, S) -> restorations of the same shape.
    store, resolution : Store, Resolution
        The images, and the size that the network sees them at.
    fields : sequence of int
        Indices of the fields.
    """
    field, last = fields[len(fields) // 2], len(store.levels) - 1
    levels = sorted({round(place * last) for place in PLACES} | {store.in_focus_index})
    at = resolution, field, np.array(levels)
    arrays = {
        "defocused": store.in_focus_units(store.as_float(*at), *at),
        "restored": restore_images(restore, store, *at),
        "in_focus": store.as_float(resolution, field, store.in_focus_index),
    }
    stored = {
        name: np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8) for name, array in arrays.items()
    }
    with new_file(path) as partial:
        np.savez_compressed(
            partial,
            **stored,
            levels=np.array([store.levels[level] for level in levels]),
            field=np.array(store.fields[field]),
        )
