"""The outcome of a study for its record: which configuration won, by how much, the report, and
which networks are worth keeping.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.best_run import best_run
from analysis.differences import differences
from analysis.load import Study, anything_finished, load_study
from analysis.outcome_table import ranking
from analysis.report import write_report
from analysis.search_report import front_text
from study.record.outcome import CHAMPION, KeptModel, Outcome


def conclude(folder: Path, run: int | None = None) -> Outcome:
    """Write the report of a study that has ended, and return its outcome; an empty one if nothing
    has finished.

    A study that was resumed has ended more than once: `run` says which end is meant.

    Parameters
    ----------
    folder : Path
        The study's folder.
    run : int, optional
        0 for its first run, then the number of its `resumed` event; all that the ledger holds if
        not given.
    """
    study = load_study(folder, run=run)
    if not anything_finished(study):
        return Outcome()
    table = ranking(study)
    configurations = table[table["role"] != "reference"]
    won = configurations[configurations["role"] == "winner"]
    tags, metrics = {"champion": str(best_run(study)["label"])}, {}
    if len(won):
        tags["winner"] = str(won.iloc[0]["label"])
        metrics = {f"winner_{name}": float(won.iloc[0][name]) for name in ("ssim", "psnr")}
    for one in differences(study):
        if one.candidate == tags.get("winner"):
            tags |= {"verdict": one.text, "baseline": one.baseline}
            metrics |= {
                "difference": one.mean,
                "difference_low": one.low,
                "difference_high": one.high,
                "p": one.p,
            }
    artifacts = [write_report(study)]
    if text := front_text(study):
        tags["front"] = text
        artifacts += [
            study.folder / "tables" / "front.csv",
            *sorted((study.folder / "figures").glob("front-*.png")),
        ]
    return Outcome(tags, metrics, artifacts, _models(study, tags.get("winner")))


def _models(study: Study, winner: str | None) -> list[KeptModel]:
    """Return the champion (see `best_run`), the search's winner and the baselines, each by its
    first replicate, where its weights are still there; none of a search without a confirmation.
    """
    confirmed = study.trials[
        (study.trials["phase"] == "confirm") & (study.trials["status"] == "finished")
    ]
    if confirmed.empty:
        return []
    best = best_run(study)
    kept = [
        KeptModel(
            int(best["trial"]),
            int(best["replicate"]),
            CHAMPION,
            str(best["label"]),
            Path(best["folder"]),
        )
    ]
    for label, runs in confirmed.sort_values(["trial", "replicate"]).groupby("label", sort=False):
        first = runs.iloc[0]
        if first["baseline"] or label == winner:
            alias = (
                "winner"
                if label == winner
                else re.sub(r"[^a-z]+", "-", str(label).lower()).strip("-")
            )
            kept.append(
                KeptModel(
                    int(first["trial"]),
                    int(first["replicate"]),
                    alias,
                    str(label),
                    Path(first["folder"]),
                )
            )
    return [one for one in kept if (one.folder / "weights.npz").is_file()]
