from __future__ import annotations

from pathlib import Path

import pytest

from analysis.load import load_study
from analysis.reproduced_tables import average_table, in_focus_table, level_table, networks
from analysis.table_texts import average_rows, level_rows
from analysis.verdicts import Judgement, Verdict
from tests.made_up_study import SEARCHED, SPLIT, WHOLE, Truth, make_study


def test_cells_beside_the_paper(tmp_path: Path) -> None:
    make_study(tmp_path, Truth(searched=False))
    study = load_study(tmp_path)
    table = average_table(study).set_index(["label", "metric"])
    cell = table.loc[(WHOLE.label, "psnr")]
    assert (cell["paper"], cell["verdict"]) == ("30.277", Judgement(Verdict.SAME))
    worse = Judgement(Verdict.WORSE)
    assert table.loc[(SPLIT.label, "psnr"), "verdict"] == worse  # 20 against 26.905 dB
    assert table.loc[(WHOLE.label, "mse"), "verdict"] == worse  # .5 against .002
    # one definition is judged for each printed column
    for metric in ("ssim_range2", "rmse"):
        assert table.loc[(WHOLE.label, metric), ["paper", "verdict"]].tolist() == ["", None]
    unrestored = table.loc["unrestored input at 768 px (test)"].loc["ssim"]
    assert unrestored["ours"] == pytest.approx(0.7 - 0.15 / 4, abs=0.01)
    assert (unrestored["paper"], unrestored["verdict"]) == ("", None)
    ours = table.loc[(WHOLE.label, "ssim"), "ours"]
    assert ours == pytest.approx(0.8 - 0.15 / 4, abs=0.01)
    levels = level_table(study).set_index(["label", "level", "metric"])
    assert levels.loc[(WHOLE.label, 32, "ssim"), "paper"] == "0.755"
    assert levels.loc[(WHOLE.label, 32, "mse"), "paper"] == "0.003"
    assert 16 not in level_table(study)["level"].unique()
    harm = in_focus_table(study).set_index(["label", "metric"])
    assert harm.loc[(WHOLE.label, "ssim"), "ours"] == pytest.approx(0.9, abs=0.01)
    assert harm.loc[("upper bound at 128 px (test)", "ssim"), "ours"] == pytest.approx(0.98)


def test_the_winner_is_compared_with_no_network_of_the_paper(tmp_path: Path) -> None:
    make_study(tmp_path, Truth())
    study = load_study(tmp_path)
    assert networks(study) == {WHOLE.label: "whole", SPLIT.label: "split", SEARCHED.label: None}
    table = average_table(study)
    assert set(table[table["label"] == SEARCHED.label]["paper"]) == {""}
    assert list(average_rows(study)[""])[:3] == ["ours", "paper", "verdict"]


def test_the_signs_of_verdicts(tmp_path: Path) -> None:
    ssim = {WHOLE.label: 0.9, SPLIT.label: 0.75}
    make_study(tmp_path, Truth(searched=False, ssim=ssim))
    study = load_study(tmp_path)
    table = level_table(study)
    rows = level_rows(study, table[table["label"] == WHOLE.label]).set_index("z-plane")
    # SSIM is .85 at level 0, where .805 is printed; with a data range of 2 it is .5
    assert (rows.loc["0", "paper’s SSIM"], rows.loc["0", "SSIM?"]) == ("0.805", "+")
    assert "SSIM, data range 2?" not in rows
    assert rows.loc["0", "SSIM, data range 2"] == "0.500"
    assert rows.loc["0", "MSE?"] == "−"
    assert rows.loc["0", "PSNR?"] == "+"  # 30.277 dB, where 26.848 is printed
