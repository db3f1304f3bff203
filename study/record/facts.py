"""What a study's events say of its images and of what it ran on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """The prepared images: their folder, fingerprint and data set, and what they were made from."""

    folder: str
    fingerprint: str
    kind: str
    source: str
    channel: str
    levels: list[int]
    resolutions: list[str]


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What a reader must know of the images.

    Parameters
    ----------
    title : str
        Of the data set.
    simulated : str, optional
        How they were made; None for published ones.
    in_focus_level : int
        The level that is the target of a restoration.
    level_title, level_axis, level_symbol : str
        What a level is called, the label of an axis of levels, and its short form.
    shown_levels : list of int
        Those for a table that has no room for all.
    well_title : str
        What a split keeps together.
    fields, wells : dict
        Side of the split -> how many.
    """

    title: str
    simulated: str | None
    in_focus_level: int
    level_title: str
    level_axis: str
    level_symbol: str
    shown_levels: list[int]
    well_title: str
    fields: dict[str, int]
    wells: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the program ran on: command, versions, commit, processors, backend."""

    command: list[str]
    python: str
    platform: str
    processor: str
    cpus: int | None
    backend: str
    packages: dict[str, str | None]
    git: str | None
