from statistics import mean

import pytest

from analysis.paper_tables import averages, curve, printed_level, reference_curves, tables


def test_every_row_of_the_tables_is_there() -> None:
    counts: dict[str, int] = {}
    for row in tables():
        counts[row.table] = counts.get(row.table, 0) + 1
    assert counts == {"1": 2, "2": 2, "3-4": 66, "5": 30}
    assert [row.level for row in curve("bbbc006", "whole")] == [z for z in range(34) if z != 16]
    assert [row.level for row in curve("bbbc005", "split")] == [
        4,
        7,
        10,
        14,
        17,
        20,
        23,
        26,
        29,
        32,
        35,
        39,
        42,
        45,
        48,
    ]


def test_some_cells_as_printed() -> None:
    assert averages("bbbc006")["whole"].ssim == 0.876
    assert averages("bbbc005")["split"].psnr == 28.319
    by_plane = {row.level: row for row in curve("bbbc006", "whole")}
    assert (by_plane[12].mse_text, by_plane[12].rmse, by_plane[12].psnr, by_plane[12].ssim) == (
        "< 0.001",
        0.2,
        33.24,
        0.931,
    )
    assert curve("bbbc005", "split")[5].psnr == 41.469


def test_means_of_the_columns_worked_out_elsewhere() -> None:
    assert mean(row.psnr for row in curve("bbbc006", "whole")) == pytest.approx(30.916, abs=5e-4)
    assert mean(row.psnr for row in curve("bbbc006", "split")) == pytest.approx(28.182, abs=5e-4)
    assert mean(row.psnr for row in curve("bbbc005", "split")) == pytest.approx(29.044, abs=5e-4)


@pytest.mark.parametrize("kind", ["bbbc005", "bbbc006"])
def test_reference_curves_have_a_value_for_every_level(kind: str) -> None:
    references = reference_curves(kind)
    assert [one.reference.label for one in references] == [
        "paper: whole image",
        "paper: split image",
    ]
    for one in references:
        assert {len(values[0]) for values in one.evaluation.values()} == {len(one.levels)}


def test_a_data_set_that_the_paper_does_not_have_has_no_curves() -> None:
    assert reference_curves("plankton") == []
    assert printed_level("plankton", 30) == 30


def test_blur_levels_are_counted_from_1_as_in_the_paper() -> None:
    assert [printed_level("bbbc005", level) for level in (4, 20, 48)] == [1, 6, 15]
    assert printed_level("bbbc006", 20) == 20
