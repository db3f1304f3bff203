"""The outcome of a study for its record: which configuration won, by how much, the report, and
which networks are worth keeping.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.best_run import choose_run, choose_seed
from analysis.differences import differences
from analysis.endpoint import primary_endpoint
from analysis.load import Study, tables_of
from analysis.outcome_table import Standing, ranking
from analysis.report import write_report
from analysis.search_report import front_text
from study.record.history import History, Run
from study.record.identities import Phase, Role
from study.record.outcome import CHAMPION, KeptModel, Outcome


def conclude(folder: Path, history: History) -> Outcome:
    """Write the report of a study that has ended, and return its outcome; an empty one if nothing
    has finished.

    Parameters
    ----------
    folder : Path
        The study's folder.
    history : History
        What its ledger says, or what it said when a run of the study ended: one that was resumed
        has ended more than once.
    """
    study = tables_of(folder, history)
    if not study.anything_finished:
        return Outcome()
    table, winner, best = ranking(study), history.winner(), choose_run(study)
    champion = f"none: {best.refusal}" if best.refusal else best.run.label
    tags, metrics = {"champion": champion, "endpoint": primary_endpoint(study).title}, {}
    won = table[table["role"] == Standing.WINNER]
    if winner is not None and len(won):
        tags["winner"] = winner.label
        names = ("endpoint", "ssim", "psnr")
        metrics = {f"winner_{name}": float(won[name].iloc[0]) for name in names}
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
    return Outcome(tags, metrics, artifacts, _models(study))


def _models(study: Study) -> list[KeptModel]:
    """Return the champion (see `choose_run`; none where it is not to be used), the search's winner
    and the baselines, each by one seed (see `choose_seed`), where its weights are still there; none
    of a search without a confirmation.
    """
    runs: dict[str, list[Run]] = {}
    for run in study.history.finished(Phase.CONFIRM):
        runs.setdefault(run.label, []).append(run)
    if not runs:
        return []
    winner, best = study.history.winner(), choose_run(study)
    kept = [] if best.refusal else [(best.run, CHAMPION)]
    for one in sorted(runs.values(), key=lambda one: one[0].trial):
        run = choose_seed(study, one)
        if winner is not None and run.trial == winner.trial:
            kept.append((run, "winner"))
        elif run.role == Role.BASELINE:
            kept.append((run, re.sub(r"[^a-z]+", "-", run.label.lower()).strip("-")))
    models = [KeptModel(run.id, alias, run.label, study.run_folder(run)) for run, alias in kept]
    return [model for model in models if (model.folder / "weights.npz").is_file()]
