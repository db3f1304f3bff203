"""The main job on real BBBC005 images: from the F1 images to a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from study.cli import main
from study.data.layouts import bbbc005
from study.record.identities import Reference, ReferenceRole
from tests.e2e.conftest import Done

pytestmark = [
    pytest.mark.slow,
    pytest.mark.realdata,
    pytest.mark.filterwarnings("ignore"),
]
SMALL = [
    *("--scaled_down", "true", "--sizes.whole", "[32]", "--sizes.split", "64"),
    *("--sizes.patches", "[32]", "--training.epochs", "1", "--training.patches_per_image", "1"),
    *("--search.trials", "1", "--search.rung_images", "4", "--confirm.replicates", "1"),
    *("--evaluation.deconvolved_fields", "0"),
]


def at_128_px(path: Path) -> np.ndarray:
    image = cv2.resize(
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64),
        (128, 128),
        interpolation=cv2.INTER_AREA,
    )
    return (image - image.min()) / np.ptp(image)


def test_a_study_on_rebuilt_levels_scores_the_unrestored_input_as_the_real_files_do(
    run_tiny: Callable[..., Done],
    realdata: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = {
        (plane.field, plane.level): plane.path
        for plane in bbbc005.LAYOUT.read_planes(realdata / "bbbc005")
        if plane.channel == "w1"
    }
    sharp, raw = tmp_path / "sharp", tmp_path / "raw"
    sharp.mkdir()
    # a part of the scenes that are there at level 48, too
    scenes = sorted(field for field, level in real if level == 1 and (field, 48) in real)[::8]
    for field in scenes:
        (sharp / real[field, 1].name).symlink_to(real[field, 1])
    assert main(["simulate", "bbbc005", str(raw), "--from-sharp", str(sharp)]) == 0
    assert f"--dataset.kind bbbc005 --dataset.root {raw}" in capsys.readouterr().out

    where = ["--dataset.kind", "bbbc005", "--dataset.root", str(raw), "--storage", str(tmp_path)]
    name = ["--config", "paper_search", "--name", "real", "--without-mlflow"]
    done = run_tiny(*name, *where, *SMALL, folder=tmp_path / "studies" / "real")
    assert done.status == 0, done.err
    reference = done.history.references[Reference(ReferenceRole.UNRESTORED_INPUT, "test")]
    assert reference.levels == list(bbbc005.BLURS)
    assert len(scenes) == 12
    assert len(reference.fields) == 2
    for level in (23, 48):
        pairs = [
            (at_128_px(real[field, 1]), at_128_px(real[field, level])) for field in reference.fields
        ]
        at = reference.levels.index(level)
        assert reference.level_means("ssim")[at] == pytest.approx(
            np.mean([structural_similarity(x, y, data_range=1.0) for x, y in pairs]), abs=1e-4
        )
        assert reference.level_means("psnr")[at] == pytest.approx(
            np.mean([peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in pairs]), abs=1e-2
        )
    for text in ("BBBC005", "F 4", "F 23", "F 48", "2 test fields of 2 scenes"):
        assert text in done.out
    assert "real F1 images" in (done.folder / "report.html").read_text()
