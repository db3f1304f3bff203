from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.figures import draw_trial, line_styles, load_examples, panels
from analysis.load import Study
from analysis.outcome_table import Curve
from study.record.identities import Phase, Reference, ReferenceRole, Role, RunId
from tests.made_up_study import SPLIT, WHOLE


def test_the_best_affine_fit_of_a_picture_against_least_squares() -> None:
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 200, (1, 9, 9)).astype(np.uint8)
    focus = rng.integers(0, 255, (9, 9)).astype(np.uint8)
    arrays = {"defocused": seen, "restored": seen, "in_focus": focus, "levels": np.array([3])}
    fitted = dict(panels([("a", arrays)], 3))["best affine fit"]
    slope, offset = np.polyfit(seen.ravel().astype(float), focus.ravel().astype(float), 1)
    np.testing.assert_allclose(fitted, np.clip(slope * seen[0] + offset, 0, 255), atol=0.5001)


def test_what_is_seen_of_one_field(complete: Study) -> None:
    examples = []
    for network in (WHOLE, SPLIT):
        run = complete.history.runs[RunId(Phase.CONFIRM, network.trial, 0)]
        arrays = load_examples(complete.run_folder(run))
        assert arrays is not None
        examples.append((network.label, arrays))
    titles = [title for title, _ in panels(examples, 25)]
    assert titles == ["defocused", "best affine fit", WHOLE.label, SPLIT.label, "in focus"]
    assert panels(examples, 25)[0][1].shape == (32, 32)  # seen at the largest size


def test_lines_are_told_apart_by_what_they_are_of() -> None:
    """Labels say nothing: they are all the same."""
    subjects = [
        Role.SEARCHED,
        Role.BASELINE,
        Reference(ReferenceRole.UNRESTORED_INPUT, "test"),
        Reference(ReferenceRole.UNRESTORED_INPUT, "test", size=768),
        Reference(ReferenceRole.AFFINE_FIT, "test"),
        Reference(ReferenceRole.PAPER, "paper", name="whole"),
        Reference(ReferenceRole.PAPER, "paper", name="split"),
        Reference(ReferenceRole.DECONVOLUTION, "test", name="Wiener", fields=4),
        Reference(ReferenceRole.MEAN_SCALE, "test"),
    ]
    styles = list(line_styles(Curve("a", subject, {}) for subject in subjects))
    looks = {tuple(sorted(style.items())) for style in styles}
    assert len(looks) == len(subjects)
    assert [style.get("linestyle", "-") for style in styles] == [
        "-",
        "-",
        ":",
        ":",
        ":",
        "--",
        "-.",
        "--",
        "-.",
    ]
    assert all("marker" in style for style in styles[:2])


def test_a_trial_is_drawn_beside_references_with_its_examples(
    complete: Study, tmp_path: Path
) -> None:
    run = complete.history.runs[RunId(Phase.CONFIRM, WHOLE.trial, 0)]
    assert run.score is not None
    (tmp_path / "trials").symlink_to(complete.folder / "trials")
    drawn = draw_trial(tmp_path, complete.history, run.score)
    assert [path.name for path in drawn] == [
        "confirm-0000-0-ssim-by-level.png",
        "confirm-0000-0-restorations.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
