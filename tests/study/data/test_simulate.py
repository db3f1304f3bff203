import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from scipy.signal import convolve2d

from study.data.layouts import bbbc005, bbbc006
from study.data.provenance import read_provenance
from study.data.simulate import add_noise, draw_nuclei
from study.errors import StudyError
from study.files import read_image


def test_names_and_files_are_the_official_ones(raw_folder: Path) -> None:
    planes = bbbc006.LAYOUT.read_planes(raw_folder)
    assert len(planes) == 34 * 10
    image = read_image(planes[0].path)
    assert (image.shape, image.dtype) == ((520, 696), np.uint16)
    assert image.max() <= 4095
    assert planes[0].path.parent.name == "BBBC006_v1_images_z_00"
    assert re.fullmatch(
        r"mcf-z-stacks-03212011_a01_s1_w1[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tif",
        planes[0].path.name,
    )
    with tifffile.TiffFile(planes[0].path) as tiff:
        assert tiff.pages[0].compression == tifffile.COMPRESSION.LZW
    names = {plane.path.name for plane in planes if plane.field == "a01_s1"}
    assert len(names) == 34  # the identifier differs from plane to plane
    assert read_provenance(raw_folder) is not None


def test_same_seed_same_bytes_and_another_seed_others(raw_folder: Path, tmp_path: Path) -> None:
    bbbc006.simulate(tmp_path / "again", wells=1, seed=3)  # as `raw_folder` was made
    files = sorted((tmp_path / "again").rglob("*.tif"))
    assert len(files) == 34
    for path in files:
        first = raw_folder / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == first.read_bytes()
    bbbc006.simulate(tmp_path / "other", wells=1, seed=4)
    assert {path.name for path in (tmp_path / "other").rglob("*.tif")}.isdisjoint(
        path.name for path in files
    )


def test_defocus_is_a_gaussian_of_048_px_a_um() -> None:
    image = draw_nuclei(np.random.default_rng(1))
    expected = ndimage.gaussian_filter(image, bbbc006.SIGMA_PX_PER_UM * 10.0, mode="reflect")
    assert np.abs(bbbc006.defocus(image, 10.0) - expected).max() < 0.005 * np.ptp(image)
    np.testing.assert_array_equal(bbbc006.defocus(image, 0.0), image)


def test_noise_has_the_stated_variance() -> None:
    counts = add_noise(np.full((400, 400), 1000.0), np.random.default_rng(0)).astype(float)
    assert counts.mean() == pytest.approx(1000, abs=0.5)
    assert counts.var() == pytest.approx(
        1000 / 4 + 2**2 + 1 / 12, rel=0.02
    )  # photons, reading, rounding


@pytest.mark.parametrize("blur", bbbc005.BLURS[1:])
def test_synthetic_blur_against_a_direct_correlation(blur: int) -> None:
    image = np.random.default_rng(blur).integers(0, 255, (64, 80), dtype=np.uint8)
    sigma = np.floor(blur / 4 + 0.5)
    axis = np.arange(blur) - (blur - 1) / 2
    kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * sigma**2))
    anchor = (blur - 1) // 2
    padded = np.pad(image.astype(float), ((anchor, blur), (anchor, blur)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (blur, blur))[:64, :80]
    expected = np.floor((windows * (kernel / kernel.sum())).sum(axis=(2, 3)) + 0.5)
    np.testing.assert_array_equal(bbbc005.blur_image(image, blur), expected)


@pytest.mark.parametrize("blur", [4, 7, 10, 23, 48])
def test_the_kernel_of_bbbc005_is_the_filter_that_made_its_levels(blur: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (70, 80)).astype(np.uint8)
    kernel = bbbc005.blur_kernel(blur)
    assert kernel.shape[0] % 2 == 1
    assert kernel.sum() == pytest.approx(1)
    blurred = np.floor(convolve2d(image.astype(float), kernel, mode="same") + 0.5)
    np.testing.assert_array_equal(blurred, bbbc005.blur_image(image, blur))


def test_the_kernel_of_bbbc006_is_the_gaussian_that_defocuses() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).random((160, 160)), (0, 0), 3)
    blurred = convolve2d(image, bbbc006.blur_kernel(20), mode="same")
    defocused = bbbc006.defocus(image, 8.0)
    np.testing.assert_allclose(
        blurred[30:-30, 30:-30], defocused[30:-30, 30:-30], atol=2e-3 * image.max()
    )
    assert bbbc006.blur_kernel(16).shape == (1, 1)


@pytest.mark.realdata
def test_blurred_images_equal_the_real_files_pixel_by_pixel(realdata: Path) -> None:
    planes = [p for p in bbbc005.LAYOUT.read_planes(realdata / "bbbc005") if p.channel == "w1"]
    sharp = {plane.field: plane.path for plane in planes if plane.level == 1}
    real = [plane for plane in planes if plane.level in (23, 48)]
    assert len(real) == 24 * 4 * 2
    for plane in real:
        blurred = bbbc005.blur_image(read_image(sharp[plane.field]), plane.level)
        np.testing.assert_array_equal(blurred, read_image(plane.path), err_msg=str(plane.path))


@pytest.mark.realdata
def test_a_simulated_folder_has_the_names_and_the_images_of_the_real_one(
    realdata: Path, tmp_path: Path
) -> None:
    planes = [p for p in bbbc005.LAYOUT.read_planes(realdata / "bbbc005") if p.channel == "w1"]
    real = {(plane.field, plane.level): plane.path for plane in planes}
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for plane in planes:
        if plane.level == 1 and plane.field in ("C001_s01", "C053_s02", "C100_s03"):
            (sharp / plane.path.name).symlink_to(plane.path)
    assert bbbc005.simulate(tmp_path / "raw", from_sharp=sharp) == 3 * 16
    simulated = bbbc005.LAYOUT.read_planes(tmp_path / "raw")
    assert {plane.level for plane in simulated} == set(bbbc005.BLURS)
    compared = [plane for plane in simulated if (plane.field, plane.level) in real]
    assert {plane.level for plane in compared} == {1, 23, 48}
    for plane in compared:
        path = real[plane.field, plane.level]
        assert plane.path.name == path.name
        np.testing.assert_array_equal(read_image(plane.path), read_image(path), err_msg=str(path))


@pytest.mark.realdata
@pytest.mark.parametrize("source", ["bbbc006/in_focus", "dsb2018/images"])
def test_real_sharp_images_become_z_stacks(realdata: Path, tmp_path: Path, source: str) -> None:
    assert bbbc006.simulate(tmp_path / "raw", wells=1, from_sharp=realdata / source) == 34
    sharpness = {
        plane.level: (
            cv2.Laplacian(
                cv2.GaussianBlur(read_image(plane.path).astype(np.float64), (0, 0), 2), cv2.CV_64F
            ).var()
        )
        for plane in bbbc006.LAYOUT.read_planes(tmp_path / "raw")
    }
    assert len(sharpness) == 34
    assert max(sharpness, key=sharpness.__getitem__) == 16
    assert sharpness[0] < 0.2 * sharpness[16]


def test_bad_requests_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "sharp").mkdir()
    with pytest.raises(StudyError, match="at least 3 images"):
        bbbc006.simulate(tmp_path / "raw", wells=3, from_sharp=tmp_path / "sharp")
    cv2.imwrite(str(tmp_path / "sharp" / "small.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "sharp" / "torn.png").write_bytes(b"not an image")
    with pytest.raises(StudyError, match=r"(?s)small\.png.*\(8, 8\).*torn\.png"):
        bbbc006.simulate(tmp_path / "raw", wells=2, from_sharp=tmp_path / "sharp")
    with pytest.raises(StudyError, match="F1"):
        bbbc005.simulate(tmp_path / "raw", from_sharp=tmp_path / "sharp")
    cv2.imwrite(
        str(tmp_path / "sharp" / "SIMCEPImages_A01_C3_F1_s01_w1.TIF"),
        np.zeros((520, 696), np.uint8),
    )
    (tmp_path / "sharp" / "SIMCEPImages_A01_C5_F1_s01_w1.TIF").write_bytes(b"torn")
    with pytest.raises(StudyError, match=r"(?s)C3_F1.*no such number of cells.*C5_F1.*truncated"):
        bbbc005.simulate(tmp_path / "raw", from_sharp=tmp_path / "sharp")
    assert [path.name for path in tmp_path.iterdir()] == ["sharp"]
    with pytest.raises(StudyError, match="not an empty folder"):
        bbbc006.simulate(tmp_path / "sharp", wells=1)
