"""Winners against baselines, unrestored input and the paper: differences, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import Study, anything_finished
from analysis.statistics import Estimate, estimate, holm, judge
from study.errors import StudyError
from study.record.ledger import AT_SIZE, NO_CURVES, UPPER_BOUND

COSTS = {  # column -> its title, and how a number is written
    "parameters": ("parameters", "{:,.0f}"),
    "gflop": ("GFLOP an image", "{:.3g}"),
    "latency_ms": ("ms an image", "{:.1f}"),
    "training_seconds": ("training (s)", "{:.0f}"),
}
PAPER = {
    "epochs": 50,
    "batch_size": 16,
    "resize": "paper",
    "wells": 384,
    "fields": 768,
    "planes": 34,
}


@dataclass(frozen=True)
class Difference(Estimate):
    """A candidate's mean SSIM on the test set less the better baseline's; p is corrected after Holm
    for the number of candidates.

    Parameters
    ----------
    candidate, baseline : labels.
    verdict : in words.
    """

    candidate: str
    baseline: str
    verdict: str


def final_images(study: Study, label: str | None = None, *, defocused: bool = True) -> pd.DataFrame:
    """Return the rows of `Study.images` that the outcome rests on: the final phase's, and the
    references on the same images.

    Parameters
    ----------
    study : Study
        The study.
    label : str, optional
        Of one configuration or reference; all if not given.
    defocused : bool
        Leave the in-focus level out.
    """
    phase, images = final_phase(study), study.images
    eval_split = "test" if phase == "confirm" else "validation"
    kept = (images["phase"] == phase) | (
        (images["phase"] == "reference") & (images["eval_split"] == eval_split)
    )
    if label is not None:
        kept &= images["label"] == label
    if defocused:
        kept &= images["level"] != study.in_focus
    return images[kept]


def final_phase(study: Study) -> str:
    """Return the phase that the study's outcome rests on: confirm, or search if nothing was
    confirmed.
    """
    finished = (
        study.trials[study.trials["status"] == "finished"] if len(study.trials) else study.trials
    )
    return "confirm" if len(finished) and (finished["phase"] == "confirm").any() else "search"


def winner(study: Study) -> int | None:
    """Return the searched trial that was best on validation, which is who the test set judges; None
    if there is none.
    """
    found = study.trials
    if "objective" not in found:
        return None
    found = found[
        (found["phase"] == "search") & ~found["baseline"] & (found["status"] == "finished")
    ]
    return (
        None
        if found.empty
        else int(
            found.sort_values(["objective", "trial"], ascending=[False, True])["trial"].iloc[0]
        )
    )


def best_run(study: Study, *, trial: int | None = None) -> dict[str, Any]:
    """Return a run whose weights are kept: of the trial that is asked for, or of the configuration
    to use.

    That is the search's winner, who was chosen on validation; the better baseline where the winner
    proved worse, or there is none.

    Raises
    ------
    StudyError
        If no run of that trial has finished; those that have are named.
    """
    done = (
        study.trials[study.trials["status"] == "finished"]
        if anything_finished(study)
        else study.trials
    )
    if trial is None and len(done):
        outcome = ranking(study)
        worse = {
            found.candidate for found in differences(study) if found.verdict.startswith("worse")
        }
        usable = outcome[
            outcome["role"].isin(["winner", "baseline"]) & ~outcome["label"].isin(worse)
        ]
        usable = usable if len(usable) else outcome[outcome["role"] != "reference"]
        chosen = (
            usable[usable["role"] == "winner"] if (usable["role"] == "winner").any() else usable
        )
        trial = int(chosen["trial"].iloc[0])
    runs = done[done["trial"] == trial] if len(done) else done
    if runs.empty:
        held = (
            ", ".join(
                f"{row['trial']} ({row['label']})"
                for _, row in done.drop_duplicates("trial").iterrows()
            )
            if len(done)
            else "none"
        )
        raise StudyError(
            f"no run of trial {trial} has finished in {study.folder}. Finished trials: {held}"
        )
    return dict(
        runs.sort_values(["phase", "replicate"]).iloc[0]
    )  # "confirm" comes before "search": it saw more images


def ranking(study: Study) -> pd.DataFrame:
    """Return the outcome: a row for each configuration of the final phase and each unrestored
    input, the best SSIM first.

    Returns
    -------
    pandas.DataFrame
        label, role (winner, candidate, baseline, reference), trial, seeds, ssim, psnr, nrmse, mse
        (means over seeds, fields and defocused levels, at the evaluation resolution), and means of
        what each run cost, see `COSTS`.
    """
    phase, best = final_phase(study), winner(study)
    eval_split = "test" if phase == "confirm" else "validation"
    done = study.trials[(study.trials["phase"] == phase) & (study.trials["status"] == "finished")]
    rows: list[dict[str, Any]] = []
    for trial, runs in done.groupby("trial"):
        role = (
            "baseline" if runs["baseline"].iloc[0] else "winner" if trial == best else "candidate"
        )
        means = runs[
            ["ssim", "psnr", "nrmse", "mse", *(cost for cost in COSTS if cost in runs)]
        ].mean()
        rows.append(
            {
                "label": runs["label"].iloc[0],
                "role": role,
                "trial": trial,
                "seeds": len(runs),
                **means,
            }
        )
    shown = study.references[
        (study.references["eval_split"] == eval_split)
        & ~study.references["label"].str.startswith(NO_CURVES)
    ]
    for _, row in shown.iterrows():
        rows.append(
            {
                "label": row["label"],
                "role": "reference",
                "trial": -1,
                "seeds": 0,
                **row[["ssim", "psnr", "nrmse", "mse"]],
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("ssim", ascending=False, ignore_index=True) if len(table) else table


def front(study: Study, *, costs: Sequence[str]) -> pd.DataFrame:
    """Return the finished trials of the search with what they cost, the best first, and which of
    them are on the Pareto front: no other is as good and as cheap in everything and better or
    cheaper in something.

    Returns
    -------
    pandas.DataFrame
        label, baseline, objective, the costs, on_front.
    """
    trials, columns = study.trials, ["label", "baseline", "objective", *costs]
    if not set(columns) <= set(trials):
        return pd.DataFrame(columns=[*columns, "on_front"])
    done = trials[(trials["phase"] == "search") & (trials["status"] == "finished")][columns].copy()
    goals = done[["objective", *costs]].to_numpy(float) * [-1, *[1] * len(costs)]  # all to be small
    done["on_front"] = [
        not ((goals <= goal).all(axis=1) & (goals < goal).any(axis=1)).any() for goal in goals
    ]
    return done.sort_values("objective", ascending=False, ignore_index=True)


def upper_bounds(study: Study) -> pd.DataFrame:
    """Return what a upper bound at each image size scores at the evaluation resolution: label,
    ssim, psnr, row of the ledger.
    """
    eval_split = "test" if final_phase(study) == "confirm" else "validation"
    rows = study.references[
        (study.references["eval_split"] == eval_split)
        & study.references["label"].str.startswith(UPPER_BOUND)
    ]
    return rows[["label", "ssim", "psnr", "row"]]


def by_level(study: Study, metric: str, *, own: bool = False) -> pd.DataFrame:
    """Return a metric at every level: a row for each label, a column for each level, means over
    seeds.

    The final phase's configurations, unrestored input on the same fields, and the paper's curves;
    at the evaluation resolution, or each at its `own` size, as the paper's are.
    """
    phase = final_phase(study)
    eval_split = "test" if phase == "confirm" else "validation"
    images = study.images
    kept = images[
        (images["phase"] == phase)
        | ((images["phase"] == "reference") & images["eval_split"].isin([eval_split, "paper"]))
    ]
    kept = kept[~kept["label"].str.startswith(UPPER_BOUND if own else NO_CURVES)]
    if own:
        kept = kept.assign(
            **{metric: kept[f"own_{metric}"].where(kept["eval_split"] != "paper", kept[metric])}
        )
    table = kept.pivot_table(index="label", columns="level", values=metric, aggfunc="mean")
    others = [label for label in table.index if label.startswith((AT_SIZE, "paper: "))]
    order = [*ranking(study)["label"], *others]
    return table.reindex([label for label in order if label in table.index])


def collapsed(study: Study) -> list[str]:
    """Return the labels whose PSNR is the same at every level, but for a hundredth of a decibel."""
    curves = by_level(study, "psnr")
    own = curves[~curves.index.str.startswith(("unrestored input", "paper: "))]
    spread = own.max(axis=1) - own.min(axis=1)
    return list(spread.index[spread < 0.01])


def differences(study: Study) -> list[Difference]:
    """Compare every confirmed candidate with the better baseline, on the same images; see
    `estimate`.
    """
    if final_phase(study) != "confirm":
        return []
    images = study.images[
        (study.images["phase"] == "confirm") & (study.images["level"] != study.in_focus)
    ]
    baselines = study.trials[study.trials["baseline"]]["label"].unique()
    means = images.groupby("label")["ssim"].mean()
    present = [label for label in baselines if label in means]
    candidates = [label for label in means.index if label not in set(baselines)]
    if not present or not candidates:
        return []
    baseline = str(means[present].idxmax())
    rows = {label: images[images["label"] == label] for label in (baseline, *candidates)}
    found = {
        candidate: estimate(rows[candidate], rows[baseline], test=True) for candidate in candidates
    }
    corrected = holm([estimated.p for estimated in found.values()])
    scaled_down = bool(study.header["config"]["scaled_down"])
    return [
        Difference(
            **{**asdict(estimated), "p": p},
            candidate=candidate,
            baseline=baseline,
            verdict=judge(estimated, p, scaled_down=scaled_down),
        )
        for (candidate, estimated), p in zip(found.items(), corrected, strict=True)
    ]


def what_differs(study: Study) -> list[str]:
    """Say in sentences what differs between this study and the paper's experiment: data,
    preparation, training.
    """
    config, images = study.header["config"], study.header["images"]
    training, sizes, dataset = config["training"], config["sizes"], config["dataset"]
    found = []
    if images["simulated"]:
        found.append(f"The planes are not the published ones: {images['simulated']}.")
    wells, fields = sum(images["wells"].values()), sum(images["fields"].values())
    planes = len(study.header["store"]["levels"])
    if study.kind == "bbbc006" and (wells, fields) != (PAPER["wells"], PAPER["fields"]):
        found.append(
            f"{fields} fields of {wells} wells instead of {PAPER['fields']} of {PAPER['wells']}."
        )
    if study.kind == "bbbc006" and planes != PAPER["planes"]:
        found.append(f"{planes} planes instead of {PAPER['planes']}; the averages are over those.")
    if study.kind == "bbbc005":
        found.append(
            f"{fields} scenes at {planes} blur levels; the paper averages 9,000 images of 15"
            " levels."
        )
    if dataset["channel"] != "w1":
        found.append(f"Channel {dataset['channel']} instead of w1.")
    if study.kind == "bbbc005":
        found.append(
            "The networks are trained on BBBC005; the paper trained on BBBC006 and only tested here"
            " (its Table 2)."
        )
    if config["confirm"]["seconds"] is not None:
        found.append(
            f"Each network is trained for about {config['confirm']['seconds']:g} seconds, not for a"
            " number of epochs."
        )
    elif training["epochs"] != PAPER["epochs"]:
        found.append(f"{training['epochs']} epochs instead of {PAPER['epochs']}.")
    if training["batch_size"] != PAPER["batch_size"]:
        found.append(f"Batches of {training['batch_size']} instead of {PAPER['batch_size']}.")
    if training.get("images_per_epoch") is not None:
        found.append(
            f"An epoch is {training['images_per_epoch']} images drawn at random; the paper's is all"
            " of them."
        )
    if training.get("precision", "float32") != "float32":
        found.append(f"Trained in {training['precision']}; the paper does not say in what.")
    if training["patches_per_image"] is not None:
        found.append(
            f"The split-image network sees {training['patches_per_image']} sampled patch(es) of"
            " each image in an epoch instead of all"
            f" {(sizes['split'] // sizes['patches'][0]) ** 2}."
        )
    if config["scaled_down"]:
        found.append(
            f"Scaled down: the baselines work at {sizes['whole'][0]} px and"
            f" {sizes['split']}/{sizes['patches'][0]} px instead of 128 and 768/128 px. No claim"
            " may rest on these numbers."
        )
    if dataset["resize"] != PAPER["resize"]:
        found.append(
            "Images are shrunk by their area mean; the paper's bicubic resizing does not low-pass."
        )
    if config["evaluation"]["inference"] == "whole":
        found.append(
            "The split-image network restores the whole image at once; the paper stitches patches."
        )
    if dataset.get("split", "by_well") == "by_well":
        found.append(
            f"Fields are divided by {images['well_title']}, so that no field is on two sides; the"
            " paper draws 20 % of each plane on its own."
        )
    found.append(
        "768 px is our reading of 36 patches of 128 px; the paper does not state the size."
    )
    return found


def what_differs_in_transfer(other: Study) -> list[str]:
    """Say in sentences what differs between a transfer and the paper's: what was scored, and what
    the networks were trained on.
    """
    images, trained_on = other.header["images"], other.header["trained_on"]
    found = [
        f"{images['fields']['test']} fields of {images['wells']['test']} {images['well_title']}s,"
        " none of which a network was trained on."
    ]
    if other.kind == "bbbc005":
        found[0] = (
            f"{images['fields']['test']} scenes at {len(other.header['store']['levels']) - 1} blur"
            " levels; the paper averages 9,000 images of 15."
        )
    if images["simulated"]:
        found.append(f"The images are not the published files: {images['simulated']}.")
    if trained_on["simulated"]:
        found.append(f"The networks were trained on simulated planes: {trained_on['simulated']}.")
    if trained_on["title"] != "BBBC006":
        found.append(f"The networks were trained on {trained_on['title']}; the paper's on BBBC006.")
    return found


def against_each(study: Study, label: str, *, metric: str = "ssim") -> pd.DataFrame:
    """Return one configuration's difference from every other and from unrestored input: on the
    mean, and at every level.

    Paired by well, on the images that both were scored on. Levels are descriptive: their intervals
    are not corrected for their number.

    Returns
    -------
    pandas.DataFrame
        other, level (nan for the mean of all defocused ones), mean, low, high, wells, seeds.
    """
    images = final_images(study)
    ours, rows = images[images["label"] == label], []
    for other in ranking(study)["label"]:
        if other == label:
            continue
        theirs = images[images["label"] == other]
        fields = set(theirs["field"])  # a reference may be scored on some of them
        shared = ours[ours["field"].isin(fields)]
        levels: list[float] = [np.nan, *sorted(images["level"].unique())]
        for level in levels:
            pair = (
                (shared, theirs)
                if np.isnan(level)
                else (shared[shared["level"] == level], theirs[theirs["level"] == level])
            )
            found = estimate(*pair, metric=metric)
            rows.append({"other": other, "level": level, **asdict(found)})
    return pd.DataFrame(rows)
