"""The prepared images: one memory-mapped array for each image size, shared by all trials of a
node.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from study.data.layouts import layout_of
from study.data.planes import Layout
from study.errors import StudyError
from study.files import new_folder

FORMAT = 2  # 1 resized by `paper` in float32
STORE_FILE = "store.json"
FULL_SCALE = 65535.0  # uint16 stands for [0, 1]: 107 dB


@dataclass(frozen=True)
class Resolution:
    """How an image is brought to its size: `size` pixels a side, by the `paper` or the
    `antialiased` resizing.
    """

    size: int
    resize: str

    @property
    def name(self) -> str:
        """The resolution's name in file names and tables."""
        return f"{self.resize}_{self.size}"


class Store:
    """The read side of a prepared data set.

    Parameters
    ----------
    folder : Path
        What `prepare` wrote.
    normalisation : str
        What a pair is to a network: ``own``, each image from 0 to 1 by its own range, as they are
        stored; or ``pair``, both by the range of the defocused image.

    Attributes
    ----------
    layout : Layout
        The data set's names and facts.
    levels : list of int
        The levels held, ascending.
    fields, wells : list of str
        The fields in the arrays' order, and the well or scene of each.
    fingerprint : str
        Of the image files' bytes and of all that was done to them.
    """

    def __init__(self, folder: Path, *, normalisation: str = "own") -> None:
        self.folder, self.normalisation = Path(folder), normalisation
        description = self.folder / STORE_FILE
        try:
            self.description: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
        except OSError as error:
            raise StudyError(
                f"{self.folder} is not a store that this machine can read: {error.strerror}:"
                f" {description}"
            ) from None
        if self.description["format"] != FORMAT:
            raise StudyError(
                f"{self.folder} has store format {self.description['format']}, written by another"
                f" version of this program; this one reads {FORMAT}. `refocus prepare` makes a"
                " store of this format in another folder; what a study did with the old one, that"
                " version repeats"
            )
        self.layout: Layout = layout_of(self.description["kind"])
        self.levels: list[int] = self.description["levels"]
        self.fields: list[str] = self.description["fields"]
        self.wells: list[str] = self.description["wells"]
        self.fingerprint: str = self.description["fingerprint"]

    @property
    def in_focus_index(self) -> int:
        """Where the in-focus level stands in `levels`."""
        return self.levels.index(self.layout.in_focus_level)

    @property
    def defocused_indices(self) -> list[int]:
        """Where the other levels stand."""
        return [index for index in range(len(self.levels)) if index != self.in_focus_index]

    @property
    def blur_known(self) -> bool:
        """Whether the layout's `blur_kernel` is the true blur of these images."""
        simulated = self.description["simulated"] is not None
        return self.layout.blur_kernel is not None and (self.layout.real_blur_known or simulated)

    def images(self, resolution: Resolution) -> np.ndarray:
        """Return the images at one resolution, memory-mapped: uint16 for [0, 1], shape (field,
        level, Y, X).
        """
        return _open_array(self.folder / f"images_{resolution.name}.npy")

    def ranges(self, resolution: Resolution) -> np.ndarray:
        """Return each image's intensity at 0 and at 1 before it was normalised, float64, shape
        (field, level, 2).
        """
        return _open_array(self.folder / f"ranges_{resolution.name}.npy")

    def as_float(self, resolution: Resolution, fields: Any, levels: Any) -> np.ndarray:
        """Return images as float32 in [0, 1], indexed by field and level as numpy does."""
        return self.images(resolution)[fields, levels].astype(np.float32) / np.float32(FULL_SCALE)

    def in_focus_units(
        self, images: np.ndarray, resolution: Resolution, fields: Any, levels: Any
    ) -> np.ndarray:
        """Bring images that stand in the units of defocused images, or restorations of those, into
        the units of the images in focus.

        Each by its ``own`` range: the numbers stay, and what they stand for becomes another. By the
        range of the ``pair``: through the intensities, which stay.

        Parameters
        ----------
        images : numpy.ndarray, shape (N, Y, X)
            In units of the defocused images.
        resolution : Resolution
            Theirs.
        fields, levels : int or sequence of int
            Which defocused images, as for `as_float`.
        """
        if self.normalisation == "own":
            return images
        ranges = self.ranges(resolution)
        return change_range(images, ranges[fields, levels], ranges[fields, self.in_focus_index])

    def planes(self) -> list[dict[str, str]]:
        """Return the table of planes: field, well, level, channel, path."""
        with (self.folder / "planes.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def format_of(folder: Path) -> int | None:
    """Return the format of a store that this or another version wrote; None where there is none."""
    try:
        described = json.loads((folder / STORE_FILE).read_text(encoding="utf-8"))
    except OSError:
        return None
    return int(described["format"])


def change_range(images: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the same intensities in other units.

    Parameters
    ----------
    images : numpy.ndarray, shape (..., Y, X)
        Where 0 and 1 stand for the intensities `before`.
    before, after : numpy.ndarray, shape (..., 2)
        Intensities at 0 and at 1.
    """
    span = after[..., 1] - after[..., 0]
    gain = ((before[..., 1] - before[..., 0]) / span).astype(np.float32)
    offset = ((before[..., 0] - after[..., 0]) / span).astype(np.float32)
    return images * gain[..., None, None] + offset[..., None, None]


def open_store(folder: str, node_folder: str | None = None, *, normalisation: str = "own") -> Store:
    """Open prepared images where they are, or the copy that this machine keeps of them, which is
    made if it is not there yet.

    Parameters
    ----------
    folder : str
        What `prepare` wrote.
    node_folder : str, optional
        A folder on a disk of this machine alone, for copies; several processes may ask for one at
        once.
    normalisation : str
        See `Store`.

    Raises
    ------
    StudyError
        If the images or the folder cannot be reached; the message names the path.
    """
    store = Store(Path(folder), normalisation=normalisation)
    if node_folder is None:
        return store
    near = Path(node_folder) / f"{store.folder.name}-{store.fingerprint[:12]}"
    try:
        near.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(near.parent / f".{near.name}.lock"):
            if not near.exists():
                with new_folder(near) as partial:
                    shutil.copytree(store.folder, partial, dirs_exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"{store.folder} cannot be copied to {near}: {error.strerror or error}:"
            " resources.node_folder"
        ) from None
    return Store(near, normalisation=normalisation)


@lru_cache(maxsize=64)
def _open_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        held = ", ".join(sorted(held.stem for held in path.parent.glob("images_*.npy")))
        raise StudyError(
            f"the store {path.parent} does not hold {path.name}; it holds {held}"
        ) from None
