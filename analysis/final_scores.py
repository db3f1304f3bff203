"""The scores that the outcome of a study rests on."""

from __future__ import annotations

import pandas as pd

from analysis.load import REFERENCE, Study
from study.record.identities import Phase, Reference, ReferenceRole


def final_split(study: Study) -> str:
    """Return the side of the split that the final phase is scored on: test, or validation."""
    return "test" if study.history.final_phase == Phase.CONFIRM else "validation"


def final_references(study: Study, *roles: ReferenceRole) -> list[Reference]:
    """Return the references of these roles on the images that the outcome rests on."""
    split = final_split(study)
    return [one for one in study.references if one.split == split and one.role in roles]


def final_images(study: Study, label: str | None = None, *, defocused: bool = True) -> pd.DataFrame:
    """Return the rows of `Study.images` that the outcome rests on: the final phase's, and the
    references on the same images.

    Parameters
    ----------
    study : Study
        The study.
    label : str, optional
        Of one configuration or reference; all if not given.
    defocused : bool
        Leave the in-focus level out.
    """
    images = study.images
    kept = (images["phase"] == study.history.final_phase) | (
        (images["phase"] == REFERENCE) & (images["eval_split"] == final_split(study))
    )
    if label is not None:
        kept &= images["label"] == label
    if defocused:
        kept &= images["level"] != study.in_focus
    return images[kept]
