"""Winners against baselines, do-nothing and the paper: differences, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.audit import Row
from analysis.load import Study, anything_finished
from analysis.paper import averages, curve
from study.errors import StudyError
from study.record.ledger import CEILING

MIN_WELLS = 8  # with fewer, no interval is worth its name
FLIPS = 20_000
PAPER = {"epochs": 50, "batch_size": 16, "resize": "paper", "wells": 384, "fields": 768, "planes": 34}


@dataclass(frozen=True)
class Difference:
    """A candidate's mean SSIM on the test set less the better baseline's.

    Parameters
    ----------
    candidate, baseline : labels.
    mean : the difference, over wells and seeds.
    low, high : its 95 % interval; nan where there is none.
    p : of a sign-flip test over wells, corrected after Holm for the number of candidates; nan where there is none.
    wells, seeds : how many of each.
    verdict : in words.
    """

    candidate: str
    baseline: str
    mean: float
    low: float
    high: float
    p: float
    wells: int
    seeds: int
    verdict: str


def final_phase(study: Study) -> str:
    """Return the phase that the study's outcome rests on: confirm, or search if nothing was confirmed."""
    finished = study.trials[study.trials["status"] == "finished"] if len(study.trials) else study.trials
    return "confirm" if len(finished) and (finished["phase"] == "confirm").any() else "search"


def winner(study: Study) -> int | None:
    """Return the searched trial that was best on validation, which is who the test set judges; None if there is none."""
    found = study.trials
    if "ssim" not in found:
        return None
    found = found[(found["phase"] == "search") & ~found["baseline"] & (found["status"] == "finished")]
    return None if found.empty else int(found.sort_values(["ssim", "trial"], ascending=[False, True])["trial"].iloc[0])


def best_run(study: Study, *, trial: int | None = None) -> dict[str, Any]:
    """Return a run whose weights are kept: of the best configuration of the outcome, or of the trial that is asked for.

    Raises
    ------
    StudyError
        If no run of that trial has finished; those that have are named.
    """
    done = study.trials[study.trials["status"] == "finished"] if anything_finished(study) else study.trials
    if trial is None and len(done):
        outcome = ranking(study)
        trial = int(outcome[outcome["role"] != "reference"]["trial"].iloc[0])
    runs = done[done["trial"] == trial] if len(done) else done
    if runs.empty:
        held = ", ".join(f"{row['trial']} ({row['label']})" for _, row in done.drop_duplicates("trial").iterrows()) if len(done) else "none"
        raise StudyError(f"no run of trial {trial} has finished in {study.folder}. Finished trials: {held}")
    return dict(runs.sort_values(["phase", "replicate"]).iloc[0])  # "confirm" comes before "search": it saw more images


def ranking(study: Study) -> pd.DataFrame:
    """Return the outcome: a row for each configuration of the final phase and each do-nothing, the best SSIM first.

    Returns
    -------
    pandas.DataFrame
        label, role (winner, candidate, baseline, reference), trial, seeds, ssim, psnr, nrmse, mse (means over seeds,
        fields and defocused levels, on the common grid), parameters, training_seconds.
    """
    phase, best = final_phase(study), winner(study)
    judged_on = "test" if phase == "confirm" else "validation"
    done = study.trials[(study.trials["phase"] == phase) & (study.trials["status"] == "finished")]
    rows: list[dict[str, Any]] = []
    for trial, runs in done.groupby("trial"):
        role = "baseline" if runs["baseline"].iloc[0] else "winner" if trial == best else "candidate"
        means = runs[["ssim", "psnr", "nrmse", "mse", "parameters", "training_seconds"]].mean()
        rows.append({"label": runs["label"].iloc[0], "role": role, "trial": trial, "seeds": len(runs), **means})
    shown = study.references[(study.references["judged_on"] == judged_on) & ~study.references["label"].str.startswith(CEILING)]
    for _, row in shown.iterrows():
        rows.append({"label": row["label"], "role": "reference", "trial": -1, "seeds": 0, **row[["ssim", "psnr", "nrmse", "mse"]]})
    table = pd.DataFrame(rows)
    return table.sort_values("ssim", ascending=False, ignore_index=True) if len(table) else table


def ceilings(study: Study) -> pd.DataFrame:
    """Return what a perfect restoration at each image size scores on the common grid: label, ssim, psnr."""
    judged_on = "test" if final_phase(study) == "confirm" else "validation"
    rows = study.references[(study.references["judged_on"] == judged_on) & study.references["label"].str.startswith(CEILING)]
    return rows[["label", "ssim", "psnr"]]


def by_level(study: Study, metric: str) -> pd.DataFrame:
    """Return a metric at every level: a row for each label, a column for each level, means over seeds.

    The final phase's configurations, do-nothing on the same fields, and the paper's curves.
    """
    phase = final_phase(study)
    judged_on = "test" if phase == "confirm" else "validation"
    kept = study.levels[
        (study.levels["phase"] == phase) | ((study.levels["phase"] == "reference") & study.levels["judged_on"].isin([judged_on, "paper"]))
    ]
    table = kept.pivot_table(index="label", columns="level", values=metric, aggfunc="mean")
    order = [*ranking(study)["label"], *(label for label in table.index if label.startswith("paper: "))]
    return table.reindex([label for label in order if label in table.index])


def collapsed(study: Study) -> list[str]:
    """Return the labels whose PSNR is the same at every level, but for a hundredth of a decibel."""
    curves = by_level(study, "psnr")
    own = curves[~curves.index.str.startswith(("do-nothing", "paper: "))]
    spread = own.max(axis=1) - own.min(axis=1)
    return list(spread.index[spread < 0.01])


def differences(study: Study) -> list[Difference]:
    """Compare every confirmed candidate with the better baseline: paired by field, over wells and seeds.

    The standard error adds the variance between wells (of the paired differences) and between seeds (of each of the two),
    with Welch-Satterthwaite degrees of freedom; p is by flipping the signs of the wells' mean differences.
    """
    if final_phase(study) != "confirm":
        return []
    fields = study.fields[study.fields["phase"] == "confirm"]
    baselines = study.trials[study.trials["baseline"]]["label"].unique()
    means = fields.groupby("label")["ssim"].mean()
    present = [label for label in baselines if label in means]
    candidates = [label for label in means.index if label not in set(baselines)]
    if not present or not candidates:
        return []
    baseline = str(means[present].idxmax())
    found = [_difference(fields, candidate, baseline) for candidate in candidates]
    corrected = _holm([difference.p for difference in found])
    scaled_down = bool(study.header["config"]["scaled_down"])
    return [_judge(difference, p, scaled_down=scaled_down) for difference, p in zip(found, corrected, strict=True)]


def paper_comparison(study: Study) -> pd.DataFrame:
    """Return our baselines, each at its own size, beside the paper's averages (its "RMSE" beside our NRMSE).

    Returns
    -------
    pandas.DataFrame
        network, source (ours or paper), mse (text), rmse, nrmse, psnr, ssim, ssim_range2.
    """
    focus = study.header["images"]["in_focus_level"]
    rows: list[dict[str, Any]] = []
    for family, printed in averages(study.kind).items():
        ours = _own_levels(study, family)
        if len(ours):
            rows.append({"network": family, "source": "ours", **ours.drop(index=focus, errors="ignore").mean()})
        rows.append({"network": family, "source": "paper", **_printed(printed)})
    return pd.DataFrame(rows)


def paper_by_level(study: Study, family: str) -> pd.DataFrame:
    """Return one of our baselines beside the paper's at every level that either has; columns as in `paper_comparison`."""
    ours = _own_levels(study, family)
    printed = {row.level: _printed(row) for row in curve(study.kind, family)}
    rows: list[dict[str, Any]] = []
    for level in sorted({*ours.index, *(level for level in printed if level is not None)}):
        if level in ours.index:
            rows.append({"level": level, "source": "ours", **ours.loc[level]})
        if level in printed:
            rows.append({"level": level, "source": "paper", **printed[level]})
    return pd.DataFrame(rows)


def _own_levels(study: Study, family: str) -> pd.DataFrame:
    """Return a baseline's metrics at its own size by level (the index), means over seeds of the final phase."""
    of_family = study.trials["baseline"] & study.trials["hyperparameters"].map(lambda point: point["family"] == family)
    rows = study.levels[(study.levels["phase"] == final_phase(study)) & study.levels["label"].isin(study.trials[of_family]["label"])]
    own = rows.groupby("level")[[f"own_{name}" for name in ("mse", "rmse", "nrmse", "psnr", "ssim", "ssim_range2")]].mean()
    return own.rename(columns=lambda name: name.removeprefix("own_"))


def _printed(row: Row) -> dict[str, Any]:
    return {"mse": row.mse_text, "nrmse": row.rmse, "psnr": row.psnr, "ssim": row.ssim}


def what_differs(study: Study) -> list[str]:
    """Say in sentences what differs between this study and the paper's experiment: data, preparation, training."""
    config, images = study.header["config"], study.header["images"]
    training, sizes, dataset = config["training"], config["sizes"], config["dataset"]
    found = []
    if images["simulated"]:
        found.append(f"The planes are not the published ones: {images['simulated']}.")
    wells, fields = sum(images["wells"].values()), sum(images["fields"].values())
    planes = len(study.header["store"]["levels"])
    if study.kind == "bbbc006" and (wells, fields) != (PAPER["wells"], PAPER["fields"]):
        found.append(f"{fields} fields of {wells} wells instead of {PAPER['fields']} of {PAPER['wells']}.")
    if study.kind == "bbbc006" and planes != PAPER["planes"]:
        found.append(f"{planes} planes instead of {PAPER['planes']}; the averages are over those.")
    if study.kind == "bbbc005":
        found.append(f"{fields} scenes at {planes} blur levels; the paper averages 9,000 images of 15 levels.")
    if dataset["channel"] != "w1":
        found.append(f"Channel {dataset['channel']} instead of w1.")
    if study.kind == "bbbc005":
        found.append("The networks are trained on BBBC005; the paper trained on BBBC006 and only tested here (its Table 2).")
    if training["epochs"] != PAPER["epochs"]:
        found.append(f"{training['epochs']} epochs instead of {PAPER['epochs']}.")
    if training["batch_size"] != PAPER["batch_size"]:
        found.append(f"Batches of {training['batch_size']} instead of {PAPER['batch_size']}.")
    if training["patches_per_image"] is not None:
        found.append(
            f"The split-image network sees {training['patches_per_image']} sampled patch(es) of each image in an epoch instead of all "
            f"{(sizes['split'] // sizes['patches'][0]) ** 2}."
        )
    if config["scaled_down"]:
        found.append(
            f"Scaled down: the baselines work at {sizes['whole'][0]} px and {sizes['split']}/{sizes['patches'][0]} px instead of 128 and "
            "768/128 px. No claim may rest on these numbers."
        )
    if dataset["resize"] != PAPER["resize"]:
        found.append("Images are shrunk by their area mean; the paper's bicubic resizing does not low-pass.")
    if config["evaluation"]["inference"] == "whole":
        found.append("The split-image network restores the whole image at once; the paper stitches patches.")
    found.append(
        f"Fields are divided by {images['well_title']}, so that no field is on two sides; the paper draws 20 % of each plane on its own."
    )
    found.append("768 px is our reading of 36 patches of 128 px; the paper does not state the size.")
    return found


def _difference(fields: pd.DataFrame, candidate: str, baseline: str) -> Difference:
    ours, theirs = (
        fields[fields["label"] == label].pivot_table(index="well", columns="replicate", values="ssim") for label in (candidate, baseline)
    )
    by_well = (ours.mean(axis=1) - theirs.mean(axis=1)).to_numpy()
    mean, wells, seeds = float(by_well.mean()), len(by_well), min(ours.shape[1], theirs.shape[1])
    if wells < MIN_WELLS:
        return Difference(candidate, baseline, mean, np.nan, np.nan, np.nan, wells, seeds, "")
    parts = [(by_well.var(ddof=1) / wells, wells - 1)]
    for table in (ours, theirs):
        if table.shape[1] > 1:
            parts.append((table.mean(axis=0).var(ddof=1) / table.shape[1], table.shape[1] - 1))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts) if variance > 0 else wells - 1
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    return Difference(candidate, baseline, mean, mean - reach, mean + reach, _sign_flip(by_well), wells, seeds, "")


def _sign_flip(values: np.ndarray) -> float:
    """Return the two-sided p that the mean of `values` is 0, by flipping signs: all of them, or a fixed sample."""
    if len(values) <= 14:
        signs = np.array(np.meshgrid(*[[-1, 1]] * len(values))).reshape(len(values), -1).T
    else:
        signs = np.random.default_rng(0).choice([-1, 1], size=(FLIPS, len(values)))
        signs[0] = 1
    return float((np.abs(signs @ values) >= abs(values.sum()) - 1e-12).mean())


def _holm(values: list[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979)."""
    corrected, highest = list(values), 0.0
    for rank, index in enumerate(np.argsort(values)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest if np.isfinite(values[index]) else np.nan
    return corrected


def _judge(difference: Difference, p: float, *, scaled_down: bool) -> Difference:
    if scaled_down:
        verdict = "no verdict: scaled down, the baselines are smaller than the paper's"
    elif difference.wells < MIN_WELLS:
        verdict = f"no verdict: {difference.wells} wells or scenes in the test set; {MIN_WELLS} are needed"
    elif difference.low > 0 and p < 0.05:
        verdict = "better than the better baseline"
    elif difference.high < 0 and p < 0.05:
        verdict = "worse than the better baseline"
    else:
        verdict = "not separable from the better baseline"
    if difference.seeds < 2 and not verdict.startswith("no verdict"):
        verdict += " (one seed: chance between trainings is not counted)"
    return Difference(**{**difference.__dict__, "p": p, "verdict": verdict})
