import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from skimage.metrics import structural_similarity

from study.config import DatasetConfig
from study.data.layouts import bbbc005, bbbc006
from study.data.prepare import normalise, prepare, resize_image
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.files import read_image
from tests.conftest import LEVELS, RESOLUTIONS


def test_images_come_back_in_their_own_intensities(store: Store, raw_folder: Path) -> None:
    resolution = Resolution(64, "antialiased")
    for row in store.planes()[:7]:
        field, level = store.fields.index(row["field"]), store.levels.index(int(row["level"]))
        low, high = store.ranges(resolution)[field, level]
        restored = store.as_float(resolution, field, level) * (high - low) + low
        expected = resize_image(read_image(raw_folder / row["path"]), resolution)
        assert np.abs(restored - expected).max() <= (high - low) / 65535 + 1e-3


def test_every_image_fills_the_unit_interval(store: Store) -> None:
    for resolution in RESOLUTIONS:
        images = store.as_float(resolution, slice(None), slice(None))
        assert images.shape == (10, 5, resolution.size, resolution.size)
        assert (images.min(axis=(2, 3)) == 0).all()
        assert (images.max(axis=(2, 3)) == 1).all()


def test_area_mean_against_blocks_by_hand() -> None:
    image = np.random.default_rng(0).random((8, 12)).astype(np.float32)
    by_hand = image.reshape(4, 2, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(
        resize_image(image, Resolution(4, "antialiased")), by_hand, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_paper_resizing_is_opencv_bicubic_on_the_file_as_it_is(kind: str, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "image.tif"
    # edges of black and white, at which bicubic resizing leaves the range of the image
    image = ((rng.random((52, 69)) > 0.5) * 250).astype(kind)
    tifffile.imwrite(path, image)
    on_file = tifffile.imread(path)
    assert on_file.dtype == kind
    for size in (16, 128):
        expected = cv2.resize(on_file, (size, size), interpolation=cv2.INTER_CUBIC)
        resized = resize_image(read_image(path), Resolution(size, "paper"))
        assert resized.dtype == np.float32
        np.testing.assert_array_equal(resized, expected)
        assert (resized.min() < 0) == (kind in ("int16", "float32"))


@pytest.mark.realdata
def test_paper_resizing_leaves_a_lightly_blurred_image_nearly_as_it_is(realdata: Path) -> None:
    """By scikit-image, on 12 scenes of BBBC005 at F4, unrestored: in float .84."""
    planes = {
        (plane.field, plane.level): plane.path
        for plane in bbbc005.LAYOUT.read_planes(realdata / "bbbc005")
        if plane.channel == "w1"
    }
    scenes = sorted(field for field, level in planes if level == 48 and (field, 1) in planes)[::8]
    similar: dict[str, list[float]] = {"uint8": [], "float32": []}
    for scene in scenes:
        sharp = read_image(planes[scene, 1])
        for kind, values in similar.items():
            pair = [
                normalise(resize_image(image.astype(kind), Resolution(768, "paper")))[0] / 65535
                for image in (sharp, bbbc005.blur_image(sharp, 4))
            ]
            values.append(structural_similarity(*pair, data_range=1.0))
    assert len(scenes) == 12
    assert np.mean(similar["uint8"]) == pytest.approx(0.976, abs=0.005)
    assert np.mean(similar["float32"]) == pytest.approx(0.836, abs=0.005)


def test_a_flat_image_is_zero() -> None:
    scaled, low, high = normalise(np.full((4, 4), 7.0))
    assert (scaled == 0).all()
    assert (low, high) == (7.0, 8.0)


def test_a_store_is_made_once_and_its_fingerprint_is_of_the_bytes(
    raw_folder: Path, tmp_path: Path
) -> None:
    dataset = DatasetConfig(levels=LEVELS, max_fields=2)
    first = prepare(dataset, raw_folder, tmp_path / "a", resolutions=RESOLUTIONS[:1])
    stamp = (first.folder / "images_antialiased_16.npy").stat().st_mtime_ns
    again = prepare(dataset, raw_folder, tmp_path / "a", resolutions=RESOLUTIONS[:1])
    assert (again.folder / "images_antialiased_16.npy").stat().st_mtime_ns == stamp
    elsewhere = prepare(dataset, raw_folder, tmp_path / "b", resolutions=RESOLUTIONS[:1])
    assert elsewhere.fingerprint == first.fingerprint
    other = prepare(
        DatasetConfig(levels=LEVELS, max_fields=3),
        raw_folder,
        tmp_path / "b",
        resolutions=RESOLUTIONS[:1],
    )
    assert other.fingerprint != first.fingerprint


def test_all_broken_files_are_named_at_once_and_nothing_is_left(
    raw_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    others = shutil.ignore_patterns("*_a0[2-5]_*", "*_s2_*")
    shutil.copytree(raw_folder, root, ignore=others)  # one field
    planes = {
        level: next((root / bbbc006.PLANE_FOLDER.format(level=level)).iterdir())
        for level in range(34)
    }
    planes[2].write_bytes(planes[2].read_bytes()[:2000])
    planes[5].write_bytes(b"")
    cv2.imwrite(str(planes[7]), np.zeros((519, 696), np.uint16))
    cv2.imwrite(str(planes[9]), np.zeros((520, 696), np.uint8))
    tifffile.imwrite(planes[11], np.zeros((3, 520, 696), np.uint16), imagej=True)
    with pytest.raises(StudyError) as error:
        prepare(DatasetConfig(), root, tmp_path / "stores", resolutions=RESOLUTIONS[:1])
    text = str(error.value)
    assert all(planes[level].name in text for level in (2, 5, 7, 9, 11))
    assert f"{planes[11]} has 3 planes" in text
    assert "(519, 696)" in text
    assert "uint8" in text
    assert text.count("truncated") == 2
    assert "5 problems" in text
    assert list((tmp_path / "stores").iterdir()) == []


def test_a_store_that_is_not_there_or_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not a store"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(StudyError, match="store format 99"):
        Store(tmp_path)
