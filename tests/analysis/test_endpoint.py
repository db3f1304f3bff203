from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.conclusion import conclude
from analysis.differences import differences
from analysis.endpoint import (
    endpoint_tables,
    primary_endpoint,
    replicate_values,
)
from analysis.load import Study, load_study
from analysis.outcome_table import ranking
from analysis.report import outcome_text
from analysis.statistics import estimate
from analysis.verdicts import Verdict
from study.config import SearchConfig, StudyConfig
from study.record.identities import Phase, Reference, ReferenceRole, RunId
from study.record.outcome import CHAMPION
from tests.made_up_study import FAITHFUL, SEARCHED, SPLIT, WHOLE, Network, Truth, make_study

WEIGHTS = {0: 3.0, 32: 0.5}


def searched_for(*objectives: str, weights: dict[int, float] | None = None) -> StudyConfig:
    search = SearchConfig(objectives=list(objectives), level_weights=weights)  # type: ignore[arg-type]
    return dataclasses.replace(FAITHFUL, search=search)


def study_of(folder: Path, config: StudyConfig, **truth: object) -> Study:
    make_study(folder, Truth(config=config, **truth))  # type: ignore[arg-type]
    return load_study(folder)


def defocused(study: Study, network: Network, seed: int, metric: str) -> np.ndarray:
    """Values of one confirmed run, shape (fields, levels)."""
    score = study.history.runs[RunId(Phase.CONFIRM, network.trial, seed)].score
    assert score is not None
    return np.array(score.evaluation[metric])[:, [level != 16 for level in score.levels]]


def test_a_psnr_winner_is_judged_by_psnr_though_its_ssim_is_lower(tmp_path: Path) -> None:
    ssim = {WHOLE.label: 0.65, SPLIT.label: 0.75, SEARCHED.label: 0.7}
    gain = {SEARCHED.label: 3.5}  # PSNR is 20 + 10 SSIM besides: 3 dB above the split network
    study = study_of(tmp_path, searched_for("psnr"), ssim=ssim, psnr_gain=gain, unrestored=0.4)
    [difference] = differences(study)
    assert difference.mean == pytest.approx(3.0, abs=0.05)
    assert difference.judgement.verdict == Verdict.BETTER
    assert set(difference.secondary) == {"ssim"}
    assert difference.secondary["ssim"].mean == pytest.approx(-0.05, abs=0.005)
    assert list(ranking(study)["label"])[:2] == [SEARCHED.label, SPLIT.label]
    for run in study.history.finished(Phase.CONFIRM):
        place = study.folder / "trials" / run.id.file_name
        place.mkdir(parents=True)
        (place / "weights.npz").touch()
    outcome = conclude(tmp_path, study.history)
    assert (outcome.tags["champion"], outcome.tags["endpoint"]) == (SEARCHED.label, "PSNR")
    assert outcome.tags["verdict"].startswith("better")
    assert [one.label for one in outcome.models if one.alias == CHAMPION] == [SEARCHED.label]
    assert outcome.metrics["difference"] == pytest.approx(difference.mean)
    text = outcome_text(study)
    assert f"PSNR (primary endpoint) {difference.mean:+.2f} dB" in text
    assert "Secondary, without a verdict: SSIM -0.05" in text


def test_ssim_is_the_endpoint_of_a_study_without_a_search(complete: Study) -> None:
    endpoint = primary_endpoint(complete)
    assert endpoint.is_plain_ssim
    means = ranking(complete).set_index("label")
    assert means["endpoint"].to_numpy() == pytest.approx(means["ssim"].to_numpy())


@pytest.mark.parametrize("objective", ["ssim", "psnr"])
def test_weighted_levels_by_hand(tmp_path: Path, objective: str) -> None:
    study = study_of(tmp_path, searched_for(objective, weights=WEIGHTS))
    weights = np.array([3.0, 1.0, 1.0, 0.5])  # of levels 0, 7, 25 and 32
    values = replicate_values(study, SEARCHED.label)
    for seed in range(3):
        image = defocused(study, SEARCHED, seed, objective)
        expected = (image * weights).sum() / (weights.sum() * len(image))
        assert values[seed] == pytest.approx(expected)
    title = primary_endpoint(study).title
    assert title == f"{objective.upper()} (levels weighted)"
    [difference] = differences(study)
    assert set(difference.secondary) == {"ssim", "psnr"}


@pytest.mark.parametrize("objective", ["worst_ssim", "worst_psnr"])
def test_the_worst_level_by_hand(tmp_path: Path, objective: str) -> None:
    study = study_of(tmp_path, searched_for(objective), noise=0.05)
    values = replicate_values(study, WHOLE.label)
    for seed in range(3):
        image = defocused(study, WHOLE, seed, objective.removeprefix("worst_"))
        assert values[seed] == pytest.approx(image.mean(axis=0).min())


def test_harm_is_held_against_the_unrestored_input_on_the_same_images(tmp_path: Path) -> None:
    config = searched_for("penalized_ssim")
    study = study_of(tmp_path, config, unrestored=0.78, noise=0.05)
    reference = Reference(ReferenceRole.UNRESTORED_INPUT, "test")
    seen = np.array(study.references[reference].evaluation["mse"])[:, [0, 1, 3, 4]]
    values, harmed = replicate_values(study, SPLIT.label), 0
    for seed in range(3):
        mse = defocused(study, SPLIT, seed, "mse").mean(axis=0)
        grown = np.maximum(0, mse / seen.mean(axis=0) - 1)
        expected = defocused(study, SPLIT, seed, "ssim").mean() - grown.mean()
        assert values[seed] == pytest.approx(expected)
        harmed += int((grown > 0).sum())
    assert harmed > 0
    # what is not restored does no harm
    unrestored = replicate_values(study, reference.label)
    assert unrestored.tolist() == pytest.approx([study.references[reference].summary["ssim"]])


def test_pseudo_values_are_the_wells_means_where_the_objective_is_a_mean(tmp_path: Path) -> None:
    """One level makes the worst level's mean a mean."""
    levels = {4: 0.0, 16: 0.1}
    worst = study_of(tmp_path / "worst", searched_for("worst_ssim"), levels=levels)
    mean = study_of(tmp_path / "mean", searched_for("ssim"), levels=levels)
    for label, table in endpoint_tables(mean).items():
        other = endpoint_tables(worst)[label]
        columns = ["well", "replicate"]
        merged = table.merge(other, on=columns)
        assert len(merged) == len(table)
        assert merged["endpoint_x"].to_numpy() == pytest.approx(merged["endpoint_y"].to_numpy())


def test_pseudo_values_by_hand(tmp_path: Path) -> None:
    study = study_of(tmp_path, searched_for("worst_ssim"), noise=0.05)
    table = endpoint_tables(study)[WHOLE.label]
    ours = table[table["replicate"] == 1].set_index("well")["endpoint"]
    image = defocused(study, WHOLE, 1, "ssim")
    theta, count = image.mean(axis=0).min(), len(image)
    raw = np.array(
        [
            count * theta - (count - 1) * np.delete(image, well, axis=0).mean(axis=0).min()
            for well in range(count)
        ]
    )
    expected = raw - raw.mean() + theta
    assert ours[[f"w{well}" for well in range(count)]].to_numpy() == pytest.approx(expected)
    assert estimate(table, metric="endpoint").wells == count
