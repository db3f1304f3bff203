"""What a raw folder holds, as one table: the only thing that the rest of the program knows of a
data set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from study.errors import StudyError, raise_all


@dataclass(frozen=True)
class Plane:
    """One image file.

    Parameters
    ----------
    field : the field of view; the same at every level.
    well : what a split may never tear apart: the well (BBBC006) or the scene (BBBC005).
    level : z-plane (BBBC006) or blur F (BBBC005).
    channel : w1 or w2.
    path : the file.
    """

    field: str
    well: str
    level: int
    channel: str
    path: Path


class Simulate(Protocol):
    """Writes a raw folder in a data set's layout, and returns the number of images."""

    def __call__(
        self, folder: Path, *, wells: int, fields_per_well: int, from_sharp: Path | None, seed: int
    ) -> int:
        """Write a new folder."""
        ...


@dataclass(frozen=True)
class Simulation:
    """How raw folders of a data set are made.

    Parameters
    ----------
    make : writes one: so many wells and fields in each, from real in-focus images where a folder
        of them is given.
    needs_sharp : whether such a folder must be given.
    max_fields_per_well : how many fields a well can have.
    """

    make: Simulate
    needs_sharp: bool
    max_fields_per_well: int


@dataclass(frozen=True)
class PaperFacts:
    """What the paper has of a data set.

    Parameters
    ----------
    trained_on : whether its networks were trained on it, or only tested.
    wells, fields : how many it used.
    averages_table, level_table : its tables of averages, and by level.
    curve_figure : its figure of scores by level.
    example_figures : its figures of example images.
    counts_levels : whether its tables count the defocused levels from 1 instead of naming them.
    """

    trained_on: bool
    wells: int
    fields: int
    averages_table: str
    level_table: str
    curve_figure: str
    example_figures: tuple[str, ...]
    counts_levels: bool


@dataclass(frozen=True)
class Layout:
    """How one data set names its files and what its images are.

    Parameters
    ----------
    kind : the data set's name in a configuration.
    title : the data set's name in a table.
    all_levels : the levels that the data set has, in order.
    in_focus_level : the level that is the target of a restoration.
    level_symbol : what stands before a level's number.
    level_title, level_axis : what a level is called, and the label of an axis of levels.
    shown_levels : a light, a middle and a heavy defocus, for a table that has no room for all.
    well_title : what a split keeps together.
    shape, dtype : of every image, "YX".
    expected : the names that a raw folder should hold, for an error's text.
    read_planes : raw folder -> planes of all channels and levels.
    blur_kernel : level -> its true blur at native pixels, shape (K, K), K odd, sum 1, to convolve
        with; None if nobody knows it.
    real_blur_known : whether that is the blur of the published images too, not of simulated ones
        alone.
    simulation : how a raw folder is made; None if it cannot be.
    paper : what the paper has of it; None for another data set.
    """

    kind: str
    title: str
    all_levels: tuple[int, ...]
    in_focus_level: int
    level_symbol: str
    level_title: str
    level_axis: str
    shown_levels: tuple[int, int, int]
    well_title: str
    shape: tuple[int, int]
    dtype: str
    expected: str
    read_planes: Callable[[Path], list[Plane]]
    blur_kernel: Callable[[int], np.ndarray] | None = None
    real_blur_known: bool = False
    simulation: Simulation | None = None
    paper: PaperFacts | None = None


def find_files(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """List the files below `root` with one of `suffixes` (lower case), in a fixed order."""
    paths: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        paths.extend(
            Path(folder) / name for name in sorted(names) if Path(name).suffix.lower() in suffixes
        )
    return paths


def read_planes(
    layout: Layout, root: Path, *, channel: str, levels: Sequence[int] | None
) -> list[Plane]:
    """List the images of one channel, sorted by field and level, and check that no field lacks a
    level.

    Parameters
    ----------
    layout : Layout
        The data set.
    root : Path
        Its raw folder.
    channel : str
        ``w1`` or ``w2``.
    levels : sequence of int, optional
        The levels wanted; the in-focus level is always among the result. All that the folder holds
        if not given.

    Raises
    ------
    StudyError
        If the folder is missing or holds no image of this channel, if a level is missing between
        the lowest and the highest, or if a field lacks a level or has one twice. Every culprit is
        named.
    """
    if not root.is_dir():
        raise StudyError(
            f"dataset.root must be a folder; got {root}, which"
            f" {'is a file' if root.exists() else 'does not exist'}"
        )
    everything = layout.read_planes(root)
    planes = [plane for plane in everything if plane.channel == channel]
    if not planes:
        others = sorted({plane.channel for plane in everything})
        hint = f"It holds channel {', '.join(others)}: set dataset.channel. " if others else ""
        simulated = layout.simulation is not None
        raise StudyError(
            f"no image of {layout.title}, channel {channel}, in {root}. {hint}Expected"
            f" {layout.expected}"
            + (f". `refocus simulate {layout.kind} {root}` makes such a folder" * simulated)
        )
    wanted = _wanted_levels(layout, root, {plane.level for plane in planes}, levels)
    planes = sorted(
        (plane for plane in planes if plane.level in wanted),
        key=lambda plane: (plane.field, plane.level),
    )
    raise_all(
        _incomplete_fields(layout, planes, wanted),
        heading=f"Every field needs every level; in {root}",
    )
    return planes


def thin_out(planes: list[Plane], max_fields: int | None) -> list[Plane]:
    """Keep at most `max_fields` fields, evenly spaced in the table's order, with all their
    levels.
    """
    fields = list(dict.fromkeys(plane.field for plane in planes))
    if max_fields is None or max_fields >= len(fields):
        return planes
    kept = {fields[index * len(fields) // max_fields] for index in range(max_fields)}
    return [plane for plane in planes if plane.field in kept]


def _wanted_levels(
    layout: Layout, root: Path, present: set[int], levels: Sequence[int] | None
) -> list[int]:
    focus, held = layout.in_focus_level, ", ".join(map(str, sorted(present)))
    if levels is not None:
        wanted = sorted({*levels, focus})
        absent = [level for level in wanted if level not in present]
        if absent:
            raise StudyError(
                f"dataset.levels asks for {layout.level_title} {', '.join(map(str, absent))} (the"
                f" in-focus one, {focus}, is always needed), which {root} does not hold. It holds:"
                f" {held}"
            )
        return wanted
    if focus not in present:
        raise StudyError(
            f"{root} lacks the in-focus {layout.level_title} {focus}, the target of every"
            f" restoration. It holds: {held}"
        )
    span = [level for level in layout.all_levels if min(present) <= level <= max(present)]
    gaps = [level for level in span if level not in present]
    if gaps:
        raise StudyError(
            f"{root} has a gap: no image of {layout.level_title} {', '.join(map(str, gaps))}. Add"
            " the missing folder or files, or name the levels to use, for example --dataset.levels"
            f" '{sorted(present)}'"
        )
    return span


def _incomplete_fields(layout: Layout, planes: list[Plane], wanted: list[int]) -> list[str]:
    held: dict[str, list[int]] = {}
    for plane in planes:
        held.setdefault(plane.field, []).append(plane.level)
    problems = []
    for name, levels in held.items():
        missing = [level for level in wanted if level not in levels]
        twice = sorted({level for level in levels if levels.count(level) > 1})
        if missing:
            problems.append(
                f"field {name} has no image of {layout.level_title} {', '.join(map(str, missing))};"
                " add it, remove the field's other images, or name the levels to use with"
                " dataset.levels"
            )
        if twice:
            problems.append(
                f"field {name} has more than one image of {layout.level_title}"
                f" {', '.join(map(str, twice))}"
            )
    return problems
