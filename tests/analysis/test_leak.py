from __future__ import annotations

from pathlib import Path

import pytest

from analysis.leak import measure_leak
from analysis.load import load_study
from tests.made_up_study import SHAPE, WHOLE, Truth, make_study


@pytest.mark.parametrize(("by", "text"), [(0.02, "fields leak"), (0.0, "inconclusive")])
def test_the_leak_is_measured_on_the_images_that_both_hold_out(
    by: float, text: str, tmp_path: Path
) -> None:
    make_study(tmp_path, Truth(searched=False, leak_by=by))
    leak = measure_leak(load_study(tmp_path))
    assert leak is not None
    assert leak.label == WHOLE.label
    levels = list(SHAPE)
    held_out = [levels[index % 5] for index in range(0, 50, 4)]
    assert leak.images == sum(level != 16 for level in held_out)
    assert leak.rows["ssim"][2].mean == pytest.approx(by, abs=0.002)
    assert text in leak.text


def test_a_leak_that_was_not_asked_for_is_not_there(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(searched=False))
    assert measure_leak(load_study(tmp_path)) is None
