"""Make small raw folders in the official layouts, so that a study can run without the real data
sets.

BBBC006: procedural nuclei or real in-focus images, defocused by a Gaussian of 0.48 px for each um
of distance (measured on real planes below focus), then photon and read noise. BBBC005: the real F1
images, filtered exactly as the data set's own blurred images were.
"""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from study.data import bbbc005, bbbc006
from study.data.optics import SIGMA_PX_PER_UM, defocus_sigma, synthetic_taps
from study.data.planes import Plane, find_files
from study.data.provenance import write_provenance
from study.errors import StudyError, raise_all
from study.files import new_folder, read_image

FULL_SCALE = 4095  # the camera's 12 bits
ELECTRONS_PER_COUNT = 4.0
READ_NOISE_COUNTS = 2.0
BACKGROUND_COUNTS = 120.0  # of real BBBC006 images: 111 to 140
_LZW, _PACKBITS = 5, 32773


def simulate_bbbc006(
    folder: Path,
    *,
    wells: int,
    fields_per_well: int = 1,
    from_sharp: Path | None = None,
    seed: int = 0,
) -> int:
    """Write a raw BBBC006 folder: every field at all 34 planes, official names, 16-bit LZW TIFF.

    Parameters
    ----------
    folder : Path
        Made if missing; an error if it holds anything.
    wells, fields_per_well : int
        How many; a field of a real image is one of `from_sharp`, so there must be enough of them.
    from_sharp : Path, optional
        A folder of in-focus images, 520 x 696; procedural nuclei without it.
    seed : int
        Same seed, same files.

    Returns
    -------
    int
        Images written.
    """
    if not 1 <= wells <= 384:
        raise StudyError(f"BBBC006 has 384 wells: wells must be 1 to 384; got {wells}")
    if not 1 <= fields_per_well <= 9:
        raise StudyError(
            "fields-per-well must be 1 to 9 (a site is one digit in the file names); got"
            f" {fields_per_well}"
        )
    fields = [(well, site) for well in range(wells) for site in range(1, fields_per_well + 1)]
    sharp = None if from_sharp is None else _sharp_images(from_sharp, need=len(fields))

    def write_field(number: int, target: Path) -> None:
        well, site = fields[number]
        rng = np.random.default_rng([seed, number])
        image = draw_nuclei(rng) if sharp is None else _to_camera_range(read_image(sharp[number]))
        identifiers = random.Random(f"{seed}/{number}")
        for level in bbbc006.LAYOUT.all_levels:
            blurred = defocus(image, abs(level - bbbc006.IN_FOCUS_LEVEL) * bbbc006.DISTANCE_UM)
            identifier = uuid.UUID(int=identifiers.getrandbits(128), version=4)
            name = f"{bbbc006.PREFIX}_{_well_name(well)}_s{site}_w1{identifier}.tif"
            path = target / bbbc006.PLANE_FOLDER.format(level=level) / name
            _write_tiff(path, add_noise(blurred, rng), compression=_LZW)

    with new_folder(folder) as target:
        for level in bbbc006.LAYOUT.all_levels:
            (target / bbbc006.PLANE_FOLDER.format(level=level)).mkdir()
        _in_parallel(lambda number: write_field(number, target), range(len(fields)))
        source = (
            "procedural nuclei"
            if from_sharp is None
            else f"real in-focus images ({from_sharp.name})"
        )
        write_provenance(
            target,
            f"{source}, defocused by a Gaussian of {SIGMA_PX_PER_UM} px a um, with photon and read"
            f" noise, seed {seed}",
        )
    return len(fields) * len(bbbc006.LAYOUT.all_levels)


def simulate_bbbc005(folder: Path, *, from_sharp: Path, scenes: int | None = None) -> int:
    """Write a raw BBBC005 folder: the real F1 images of `from_sharp` (channel w1) at all 16 blur
    levels.

    Parameters
    ----------
    folder : Path
        Made if missing; an error if it holds anything.
    from_sharp : Path
        A folder that holds SIMCEPImages_..._F1_..._w1.TIF.
    scenes : int, optional
        How many, evenly over the cell counts; all if not given.

    Returns
    -------
    int
        Images written.
    """
    planes = (
        [
            plane
            for plane in bbbc005.LAYOUT.read_planes(from_sharp)
            if plane.level == bbbc005.IN_FOCUS_LEVEL and plane.channel == "w1"
        ]
        if from_sharp.is_dir()
        else []
    )
    if not planes:
        raise StudyError(
            f"--from-sharp must name a folder with SIMCEPImages_..._F1_..._w1.TIF; {from_sharp}"
            " holds none"
        )
    planes.sort(key=lambda plane: plane.field)
    scenes = len(planes) if scenes is None else scenes
    if not 1 <= scenes <= len(planes):
        raise StudyError(
            f"scenes must be 1 to {len(planes)}, the F1 images in {from_sharp}; got {scenes}"
        )
    planes = [planes[index * len(planes) // scenes] for index in range(scenes)]
    wrong = [
        f"{plane.path}: {problem}" for plane in planes if (problem := _synthetic_problem(plane))
    ]
    raise_all(wrong, heading="F1 images must be the data set's own")

    def write_scene(number: int, target: Path) -> None:
        source = planes[number].path
        count, sample = (int(part[1:]) for part in planes[number].field.split("_"))
        image = read_image(source)
        for blur in bbbc005.BLURS:
            path = target / bbbc005.file_name(count=count, blur=blur, sample=sample, channel="w1")
            if blur == bbbc005.IN_FOCUS_LEVEL:
                shutil.copyfile(source, path)
            else:
                _write_tiff(path, blur_synthetic(image, blur), compression=_PACKBITS)

    with new_folder(folder) as target:
        images = target / bbbc005.IMAGE_FOLDER
        images.mkdir()
        _in_parallel(lambda number: write_scene(number, images), range(len(planes)))
        write_provenance(
            target,
            "real F1 images, blurred by the data set's own filter (its F23 and F48 come back pixel"
            " by pixel)",
        )
    return len(planes) * len(bbbc005.BLURS)


def defocus(image: np.ndarray, distance_um: float) -> np.ndarray:
    """Blur an image, shape (Y, X), by the Gaussian that stands for `distance_um` out of focus;
    float64.
    """
    sigma_px = defocus_sigma(distance_um)
    if sigma_px == 0:
        return image.astype(np.float64)
    return cv2.GaussianBlur(
        image.astype(np.float64), (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT
    )


def blur_synthetic(image: np.ndarray, blur: int) -> np.ndarray:
    """Blur a BBBC005 image, shape (Y, X), uint8, as the data set's own level `blur` was made.

    Zero-padded correlation with a `blur` x `blur` Gaussian (`study.data.optics`), rounded; an even
    filter is anchored at ``blur / 2 - 1``.
    """
    taps = synthetic_taps(blur)
    anchor = blur // 2 if blur % 2 else blur // 2 - 1
    blurred = cv2.sepFilter2D(
        image.astype(np.float64),
        cv2.CV_64F,
        taps,
        taps,
        anchor=(anchor, anchor),
        borderType=cv2.BORDER_CONSTANT,
    )
    return np.clip(np.floor(blurred + 0.5), 0, 255).astype(np.uint8)


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


def _sharp_images(folder: Path, *, need: int) -> list[Path]:
    paths = find_files(folder, (".png", ".tif", ".tiff")) if folder.is_dir() else []
    if len(paths) < need:
        raise StudyError(
            f"--from-sharp must name a folder with at least {need} images, one a field; {folder}"
            f" holds {len(paths)}"
        )
    wrong = [f"{path}: {problem}" for path in paths[:need] if (problem := _sharp_problem(path))]
    raise_all(wrong, heading="Sharp images must be readable and 520 x 696")
    return paths[:need]


def _sharp_problem(path: Path) -> str | None:
    try:
        image = read_image(path)
    except StudyError as error:
        return str(error)
    return None if image.shape[:2] == bbbc006.LAYOUT.shape else f"its shape is {image.shape}"


def _synthetic_problem(plane: Plane) -> str | None:
    if int(plane.field.split("_")[0][1:]) not in bbbc005.COUNTS:
        return f"BBBC005 has no such number of cells; it has {', '.join(map(str, bbbc005.COUNTS))}"
    try:
        image = read_image(plane.path)
    except StudyError as error:
        return str(error)
    layout = bbbc005.LAYOUT
    return (
        None
        if (image.shape, image.dtype) == (layout.shape, np.dtype(layout.dtype))
        else f"its shape is {image.shape}, its type {image.dtype}"
    )


def _to_camera_range(image: np.ndarray) -> np.ndarray:
    """Bring an image, grey or with colour channels that repeat the grey, to 12-bit counts; counts
    of 12 bits stay.
    """
    grey = image[..., 0] if image.ndim == 3 else image
    scale = (
        FULL_SCALE / 255
        if grey.dtype == np.uint8
        else FULL_SCALE / max(FULL_SCALE, int(grey.max()))
    )
    return grey * scale


def _well_name(number: int) -> str:
    return f"{'abcdefghijklmnop'[number // 24]}{number % 24 + 1:02d}"


def _write_tiff(path: Path, image: np.ndarray, *, compression: int) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_TIFF_COMPRESSION, compression]):
        raise StudyError(f"{path} could not be written; is the disk full, or the folder read-only?")


def _in_parallel(write: Callable[[int], None], numbers: range) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, numbers))
