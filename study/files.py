"""Files that are whole or not there: everything is written under a temporary name and then
renamed.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from study.errors import StudyError

LZW = 5  # a compression of the TIFF standard


def read_image(path: Path) -> np.ndarray:
    """Read an image file as it is, shape (Y, X) or (Y, X, C).

    Raises
    ------
    StudyError
        If the file is missing, truncated or no image, for which OpenCV itself returns None without
        a word; or if it holds more than one image, of which OpenCV would read the first.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise StudyError(f"cannot be read ({error.strerror})") from None
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if image is None:
        raise StudyError("is truncated or no image")
    held = _count_planes(path, encoded)
    if held[0] > (image.shape[2] if image.ndim == 3 else 1):
        raise StudyError(
            f"has {held[0]} planes{held[1]}; a file must hold one image: split it, for example by"
            " Image > Stacks > Stack to Images in ImageJ"
        )
    return image


def _count_planes(path: Path, encoded: np.ndarray) -> tuple[int, str]:
    """Return how many planes a file holds, colours counted as planes, and their shapes in words."""
    if encoded[:2].tobytes() not in (b"II", b"MM"):
        return cv2.imcount(str(path)), ""
    try:
        with tifffile.TiffFile(io.BytesIO(encoded.tobytes())) as tiff:
            series = [(one.shape, one.axes, one.size) for one in tiff.series]
            pixels = tiff.pages.first.imagelength * tiff.pages.first.imagewidth
    except tifffile.TiffFileError as error:
        raise StudyError(f"is no TIFF file that can be read whole ({error})") from None
    shapes = " and ".join(f"{shape}, axes {axes}" for shape, axes, _ in series)
    return sum(-(-size // pixels) for _, _, size in series), f" (shape {shapes})"


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes `folder` when the block ends, and vanishes on an
    error.

    Where another process made `folder` meanwhile, that one stays.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(
            f"{folder} exists already and is not an empty folder: name a new one, or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(partial)  # another process has made the same folder meanwhile
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path, with the same suffix, to write; it becomes `path`, or replaces it,
    when the block ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_tiff(path: Path, image: np.ndarray, *, compression: int = LZW) -> None:
    """Write an image; `compression` is a number of the TIFF standard.

    Raises
    ------
    StudyError
        If it could not be written, which OpenCV itself tells by what it returns.
    """
    with new_file(path) as partial:
        if not cv2.imwrite(str(partial), image, [cv2.IMWRITE_TIFF_COMPRESSION, compression]):
            raise StudyError(
                f"{path} could not be written; is the disk full, or the folder read-only?"
            )
