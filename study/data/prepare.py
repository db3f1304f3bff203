"""Raw folder -> store: every file read and checked, resized, normalised, and written once for all
trials.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from study.config import DatasetConfig
from study.data.layouts import layout_of
from study.data.planes import Layout, Plane, read_planes, thin_out
from study.data.provenance import read_provenance
from study.data.store import FORMAT, FULL_SCALE, STORE_FILE, Resolution, Store
from study.errors import StudyError, raise_all
from study.files import new_folder, read_image

BICUBIC_TYPES = (np.uint8, np.uint16, np.int16)  # the integers that OpenCV resizes
Progress = Callable[[int, int], None]


def prepare(
    dataset: DatasetConfig,
    root: Path,
    stores: Path,
    *,
    resolutions: Sequence[Resolution],
    progress: Progress | None = None,
) -> Store:
    """Make the store of a raw folder, or open the one made earlier from the same files.

    Parameters
    ----------
    dataset : DatasetConfig
        Kind, channel, levels and number of fields.
    root : Path
        The raw folder.
    stores : Path
        The folder that holds stores.
    resolutions : sequence of Resolution
        The sizes and resizings to prepare.
    progress : callable, optional
        Told how many fields of how many are done.

    Raises
    ------
    StudyError
        If files are missing, unreadable, truncated, or of a wrong shape or bit depth: one message
        that names them all. Nothing is left behind.
    """
    layout, root = layout_of(dataset.kind), root.resolve()
    planes, resolutions = _planes(dataset, root), _in_order(resolutions)
    folder = store_folder(dataset, root, stores, resolutions=resolutions)
    if (folder / STORE_FILE).is_file():
        return Store(folder, normalisation=dataset.normalisation)
    with new_folder(folder) as partial:
        _write_store(partial, layout, root, planes, resolutions, progress)
    return Store(folder, normalisation=dataset.normalisation)


def store_folder(
    dataset: DatasetConfig, root: Path, stores: Path, *, resolutions: Sequence[Resolution]
) -> Path:
    """Return where the store of a raw folder stands or will stand; another of its files, or
    resolutions, gives another folder.
    """
    root = root.resolve()
    key = _quick_key(root, _planes(dataset, root), _in_order(resolutions))
    return stores / f"{dataset.kind}-{key}"


def _planes(dataset: DatasetConfig, root: Path) -> list[Plane]:
    return thin_out(
        read_planes(layout_of(dataset.kind), root, channel=dataset.channel, levels=dataset.levels),
        dataset.max_fields,
    )


def _in_order(resolutions: Sequence[Resolution]) -> list[Resolution]:
    return sorted(set(resolutions), key=lambda resolution: resolution.name)


def resize_image(image: np.ndarray, resolution: Resolution) -> np.ndarray:
    """Bring an image, shape (Y, X), to a resolution; float32 in the image's own units.

    ``paper`` is bicubic whatever the sizes, which does not low-pass when it shrinks. Of a file's
    integers it makes such integers: OpenCV rounds, and cuts what leaves their range.
    ``antialiased`` is the area mean along an axis that shrinks and bicubic along one that grows, in
    float32.
    """
    if resolution.resize == "paper":
        own = image if image.dtype in BICUBIC_TYPES else image.astype(np.float32)
        square = (resolution.size, resolution.size)
        return cv2.resize(own, square, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    image = image.astype(np.float32)
    for axis in (0, 1):
        shape = list(image.shape)
        shrinks = resolution.size < shape[axis]
        shape[axis] = resolution.size
        image = cv2.resize(
            image,
            (shape[1], shape[0]),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
    return image


def normalise(image: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Scale an image to uint16 for [0, 1]; return it with the intensities that 0 and 1 stand for (a
    flat image is 0).
    """
    low, high = float(image.min()), float(image.max())
    span = high - low if high > low else 1.0
    return np.rint((image - low) * (FULL_SCALE / span)).astype(np.uint16), low, low + span


def _quick_key(root: Path, planes: Sequence[Plane], resolutions: Sequence[Resolution]) -> str:
    """Tell one store from another without reading the images: names, sizes and times of the files,
    and the resolutions.
    """
    digest = hashlib.sha256(f"format {FORMAT}\0{root}\0{read_provenance(root)}\n".encode())
    for plane in planes:
        status = plane.path.stat()
        digest.update(
            f"{plane.path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
        )
    for resolution in resolutions:
        digest.update(resolution.name.encode())
    return digest.hexdigest()[:12]


def _write_store(
    folder: Path,
    layout: Layout,
    root: Path,
    planes: list[Plane],
    resolutions: Sequence[Resolution],
    progress: Progress | None,
) -> None:
    levels = sorted({plane.level for plane in planes})
    by_field = [planes[index : index + len(levels)] for index in range(0, len(planes), len(levels))]
    digests = _write_images(folder, layout, root, by_field, resolutions, progress)
    _write_table(folder, root, planes)
    fingerprint = hashlib.sha256(
        "\n".join(
            [f"format {FORMAT}", *(resolution.name for resolution in resolutions), *digests]
        ).encode()
    ).hexdigest()
    description = {
        "format": FORMAT,
        "kind": layout.kind,
        "source": str(root),
        "simulated": read_provenance(root),
        "channel": planes[0].channel,
        "levels": levels,
        "fields": [group[0].field for group in by_field],
        "wells": [group[0].well for group in by_field],
        "resolutions": [resolution.name for resolution in resolutions],
        "fingerprint": fingerprint,
    }
    (folder / STORE_FILE).write_text(json.dumps(description, indent=1), encoding="utf-8")


def _write_images(
    folder: Path,
    layout: Layout,
    root: Path,
    by_field: list[list[Plane]],
    resolutions: Sequence[Resolution],
    progress: Progress | None,
) -> list[str]:
    """Write the arrays of images and ranges; return the digest of every file, field by field."""
    count = (len(by_field), len(by_field[0]))
    images = {
        resolution: np.lib.format.open_memmap(
            folder / f"images_{resolution.name}.npy",
            mode="w+",
            dtype=np.uint16,
            shape=(*count, resolution.size, resolution.size),
        )
        for resolution in resolutions
    }
    ranges = {resolution: np.zeros((*count, 2)) for resolution in resolutions}
    problems: list[str] = []
    digests = [[""] * count[1] for _ in by_field]

    def prepare_field(number: int) -> None:
        for position, plane in enumerate(by_field[number]):
            try:
                digests[number][position] = hashlib.sha256(plane.path.read_bytes()).hexdigest()
                image = _checked_image(plane, layout)
            except (StudyError, OSError) as error:
                problems.append(f"{plane.path} {error}")
                continue
            for resolution in resolutions:
                scaled, low, high = normalise(resize_image(image, resolution))
                images[resolution][number, position] = scaled
                ranges[resolution][number, position] = low, high

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(prepare_field, range(len(by_field))), start=1):
            if progress is not None:
                progress(done, len(by_field))
    raise_all(
        sorted(problems),
        heading=(
            f"Some images of {root} cannot be used; replace these files, or remove their fields"
        ),
    )
    for resolution in resolutions:
        images[resolution].flush()
        np.save(folder / f"ranges_{resolution.name}.npy", ranges[resolution])
    return [digest for field in digests for digest in field]


def _checked_image(plane: Plane, layout: Layout) -> np.ndarray:
    image = read_image(plane.path)
    if image.shape != layout.shape or image.dtype != np.dtype(layout.dtype):
        raise StudyError(
            f"has shape {image.shape} and type {image.dtype}; {layout.title} has {layout.shape} and"
            f" {layout.dtype}"
        )
    return image


def _write_table(folder: Path, root: Path, planes: list[Plane]) -> None:
    with (folder / "planes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["field", "well", "level", "channel", "path"])
        for plane in planes:
            path = plane.path.relative_to(root)
            writer.writerow([plane.field, plane.well, plane.level, plane.channel, path])
