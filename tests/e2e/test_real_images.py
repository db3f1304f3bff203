"""The main job on real BBBC005 images: from the F1 images to a report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from study.cli import main
from study.data.layouts import bbbc005
from study.record.ledger import read_events
from tests.e2e.test_study import run

SMALL = [
    "--training.epochs",
    "1",
    "--training.patches_per_image",
    "1",
    "--search.trials",
    "1",
    "--search.rung_images",
    "4",
    "--confirm.replicates",
    "1",
    "--scaled_down",
    "true",
    "--sizes.whole",
    "[32]",
    "--sizes.split",
    "64",
    "--sizes.patches",
    "[32]",
]


def common_grid(path: Path) -> np.ndarray:
    image = cv2.resize(
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64),
        (128, 128),
        interpolation=cv2.INTER_AREA,
    )
    return (image - image.min()) / np.ptp(image)


@pytest.mark.realdata
@pytest.mark.slow
def test_a_study_on_rebuilt_levels_scores_do_nothing_as_the_real_files_do(
    realdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = {
        (plane.field, plane.level): plane.path
        for plane in bbbc005.LAYOUT.read_planes(realdata / "bbbc005")
        if plane.channel == "w1"
    }
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for (field, level), path in real.items():
        if level == 1 and field.endswith(("_s01", "_s02")):
            (sharp / path.name).symlink_to(path)
    assert main(["simulate", "bbbc005", str(tmp_path / "raw"), "--from-sharp", str(sharp)]) == 0
    assert f"--dataset.kind bbbc005 --dataset.root {tmp_path / 'raw'}" in capsys.readouterr().out

    where = ["--name", "real", "--dataset.kind", "bbbc005", "--dataset.root", str(tmp_path / "raw")]
    done = run(
        "--config",
        "paper_search",
        *where,
        *SMALL,
        "--evaluation.deconvolved_fields",
        "1",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    events = read_events(tmp_path / "studies" / "real")
    reference = next(
        event for event in events if event.get("reference") == "unrestored input (test)"
    )
    assert reference["levels"] == list(bbbc005.BLURS)
    assert len(reference["fields"]) == 10  # of 48 scenes, so that there can be a verdict
    for level in (23, 48):
        pairs = [
            (common_grid(real[field, 1]), common_grid(real[field, level]))
            for field in reference["fields"]
        ]
        at = reference["levels"].index(level)
        assert np.mean(reference["evaluation"]["ssim"], axis=0)[at] == pytest.approx(
            np.mean([structural_similarity(x, y, data_range=1.0) for x, y in pairs]), abs=1e-4
        )
        assert np.mean(reference["evaluation"]["psnr"], axis=0)[at] == pytest.approx(
            np.mean([peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in pairs]), abs=1e-2
        )
    assert all(
        text in done.stdout
        for text in ("BBBC005", "F 4", "F 23", "F 48", "10 test fields of 10 scenes")
    )
    assert "real F1 images" in (tmp_path / "studies" / "real" / "report.html").read_text()
