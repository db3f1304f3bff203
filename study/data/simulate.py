"""Parts of simulated raw folders: procedural nuclei, a camera, real images to start from, files.

Each layout that can be simulated puts them together in its own module.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from study.data.planes import find_files
from study.errors import StudyError, raise_all
from study.files import read_image

FULL_SCALE = 4095  # the camera's 12 bits
ELECTRONS_PER_COUNT = 4.0
READ_NOISE_COUNTS = 2.0
BACKGROUND_COUNTS = 120.0  # of real BBBC006 images: 111 to 140


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Record an image, shape (Y, X), in camera counts, with photon and read noise; uint16 of 12
    bits.

    Photon noise is taken as normal: with the background's 480 electrons a Poisson distribution is
    one.
    """
    light = np.clip(image, 0, None)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.sqrt(
        light / ELECTRONS_PER_COUNT + READ_NOISE_COUNTS**2
    )
    return np.clip(np.rint(light + noise), 0, FULL_SCALE).astype(np.uint16)


def draw_nuclei(rng: np.random.Generator, *, shape: tuple[int, int] = (520, 696)) -> np.ndarray:
    """Draw a field of textured elliptic nuclei in camera counts, shape (Y, X), float64."""
    image = np.zeros(shape)
    texture = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 2.5)
    texture /= texture.std()
    for _ in range(rng.integers(25, 90)):
        mask = np.zeros(shape, np.uint8)
        centre = (int(rng.integers(0, shape[1])), int(rng.integers(0, shape[0])))
        semi_axes = (int(rng.integers(10, 22)), int(rng.integers(8, 16)))
        cv2.ellipse(mask, centre, semi_axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        edge = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 1.0)
        image = np.maximum(image, edge * rng.uniform(500, 1400) * (1 + 0.12 * texture))
    return BACKGROUND_COUNTS + image


def find_sharp_images(folder: Path, *, need: int, shape: tuple[int, int]) -> list[Path]:
    """List the first `need` in-focus images of a folder, and check that each can be read and has
    the shape (Y, X).

    Raises
    ------
    StudyError
        If there are too few, or some cannot be used; every culprit is named.
    """
    paths = find_files(folder, (".png", ".tif", ".tiff")) if folder.is_dir() else []
    if len(paths) < need:
        raise StudyError(
            f"--from-sharp must name a folder with at least {need} images, one a field; {folder}"
            f" holds {len(paths)}"
        )
    wrong = [f"{path}: {problem}" for path in paths[:need] if (problem := _problem(path, shape))]
    raise_all(wrong, heading=f"Sharp images must be readable and {shape[0]} x {shape[1]}")
    return paths[:need]


def to_camera_range(image: np.ndarray) -> np.ndarray:
    """Bring an image, grey or with colour channels that repeat the grey, to 12-bit counts; counts
    of 12 bits stay.
    """
    grey = image[..., 0] if image.ndim == 3 else image
    if grey.dtype == np.uint8:
        return grey * (FULL_SCALE / 255)
    return grey * (FULL_SCALE / max(FULL_SCALE, int(grey.max())))


def in_parallel(write: Callable[[int], None], numbers: range) -> None:
    """Call `write` with every number, in threads."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, numbers))


def _problem(path: Path, shape: tuple[int, int]) -> str | None:
    try:
        image = read_image(path)
    except StudyError as error:
        return str(error)
    return None if image.shape[:2] == shape else f"its shape is {image.shape}"
