"""`refocus restore` on studies whose networks are made up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from study.cli import main
from study.data.store import Resolution
from study.trial import restoring
from study.trial.restoring import Restorer
from tests.made_up_study import SEARCHED, SPLIT, WHOLE, Truth, make_study

SIDE = 32
ALL = (WHOLE, SPLIT, SEARCHED)
Predict = Callable[[np.ndarray], np.ndarray]


def write_images(folder: Path, *names: str) -> list[str]:
    """Write images of noise; return their paths."""
    paths = [folder / name for name in names]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(seed).integers(100, 4000, (SIDE, SIDE), dtype=np.uint16)
        assert cv2.imwrite(str(path), image)
    return list(map(str, paths))


def use(predict: Predict, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Restore by `predict`; return the list that the folders of loaded networks will go into."""
    loaded: list[Path] = []

    def load(folder: Path) -> Restorer:
        loaded.append(folder)
        return Restorer(predict, Resolution(SIDE, "antialiased"))

    monkeypatch.setattr(restoring, "load_restorer", load)
    return loaded


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study whose winner is better than the baselines and the unrestored input."""
    folder = tmp_path / "study"
    ssim = {WHOLE.label: 0.65, SPLIT.label: 0.7, SEARCHED.label: 0.75}
    losses = {SEARCHED.label: [0.3, 0.1, 0.2]}
    make_study(folder, Truth(ssim=ssim, unrestored=0.4, losses=losses))
    return folder


def test_the_network_is_named_with_what_it_scored_beside_the_unrestored_input(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [image] = write_images(tmp_path, "x.png")
    loaded = use(lambda images: images, monkeypatch)
    assert main(["restore", str(study), image, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert re.search(
        rf"{SEARCHED.label}, seed 1, on test images: SSIM 0\.7\d+, PSNR \d+\.\d+ dB;"
        r" the unrestored input SSIM 0\.3\d+, PSNR",
        said,
    )
    assert loaded == [study / "trials" / "confirm-0002-1"]  # the seed of the lowest loss


def test_a_network_that_only_validation_has_seen_is_named_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path / "study", Truth(unrestored=0.4, seeds=0))
    [image] = write_images(tmp_path, "x.png")
    use(lambda images: images, monkeypatch)
    command = ["restore", str(tmp_path / "study"), image, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert "on validation images: SSIM" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("truth", "told"),
    [
        (Truth(unrestored=0.9), "is below the unrestored input: SSIM"),
        (
            Truth(unrestored=0.1, collapsed={one.label: range(3) for one in ALL}),
            "collapsed: it restores the same image whatever it is shown",
        ),
    ],
)
def test_a_network_that_is_not_to_be_used_is_refused_unless_it_is_wanted_anyway(
    truth: Truth,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_study(tmp_path / "study", truth)
    [image] = write_images(tmp_path, "x.png")
    loaded, out = use(lambda images: images, monkeypatch), tmp_path / "out"
    command = ["restore", str(tmp_path / "study"), image, "--out", str(out)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "--trial N" in said
    assert "--anyway" in said
    assert not loaded
    assert not out.exists()
    assert main([*command, "--anyway"]) == 0
    assert told in capsys.readouterr().err
    assert (out / "x_restored.tif").is_file()


def test_images_that_would_share_a_file_are_refused_by_name_before_anything_is_read(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / name) for name in ("a/x.png", "b/x.tif", "y.png")]  # none is there
    out = tmp_path / "out"
    assert main(["restore", str(study), *names, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"{names[0]} and {names[1]} would all be written to {out / 'x_restored.tif'}" in said
    assert "y.png" not in said
    assert not out.exists()


def test_a_file_that_cannot_be_written_is_an_error(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [image] = write_images(tmp_path, "x.png")
    out = tmp_path / "out"
    use(lambda images: images, monkeypatch)
    monkeypatch.setattr(cv2, "imwrite", lambda *_: False)
    assert main(["restore", str(study), image, "--out", str(out)]) == 2
    assert f"{out / 'x_restored.tif'} could not be written" in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("factor", [0.04, np.nan], ids=["nearly black", "no numbers"])
def test_a_restoration_that_shows_nothing_is_named_and_not_written_but_the_others_are(
    factor: float,
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dark, light = write_images(tmp_path, "dark.png", "light.png")
    shown: list[float] = []

    def predict(images: np.ndarray) -> np.ndarray:
        shown.append(float(images.mean()))
        return images if len(shown) % 2 == 0 else np.float32(factor) * images  # of the first

    use(predict, monkeypatch)
    out = tmp_path / "out"
    command = ["restore", str(study), dark, light, "--out", str(out)]
    assert main(command) == 1
    said = capsys.readouterr()
    assert f"error: {dark}: the restoration shows nothing" in said.err
    assert "light" not in said.err
    assert [path.name for path in out.iterdir()] == ["light_restored.tif"]
    original = cv2.imread(light, cv2.IMREAD_UNCHANGED)
    restored = cv2.imread(str(out / "light_restored.tif"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(restored, original, atol=1)
    if np.isfinite(factor):
        assert main([*command, "--anyway"]) == 0
        assert {path.name for path in out.iterdir()} == {"dark_restored.tif", "light_restored.tif"}
