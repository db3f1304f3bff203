"""The outcome of a study for its record: which configuration won, by how much, the report, and
which networks are worth keeping.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from analysis.best_run import choose_run, choose_seed
from analysis.differences import differences
from analysis.endpoint import primary_endpoint
from analysis.load import Study, tables_of
from analysis.outcome_table import Standing, ranking
from analysis.report import outcome_text, write_report
from analysis.search_report import front_text
from study.programs import call_refocus
from study.record.history import History, Run
from study.record.identities import Phase, Role
from study.record.ledger import FILE_NAME
from study.record.outcome import CHAMPION, PROBLEM, KeptModel, Outcome


def conclude(
    folder: Path,
    history: History,
    *,
    log: Callable[[str], None] = lambda line: None,
    write: bool = True,
) -> Outcome:
    """Say how a study that has ended came out, write its report, and return its outcome: an empty
    one if nothing has finished, one with a problem if anything failed.

    Parameters
    ----------
    folder : Path
        The study's folder.
    history : History
        What its ledger says.
    log : callable, optional
        Prints the outcome and where the report is.
    write : bool
        Whether to write the report.
    """
    outcome = Outcome()
    try:
        study = tables_of(folder, history)
        if not study.anything_finished:
            return outcome
        outcome = _summarize(study)
        log(f"\n{outcome_text(study)}\n")
        if write:
            log(f"report:  {write_report(study)}")
    except Exception as error:  # of any kind: what was learned is in the ledger all the same
        problem = (
            f"the report could not be written: {type(error).__name__}: {error}. To try it again:"
            f" {call_refocus()} report {shlex.quote(str(folder))}"
        )
        return dataclasses.replace(outcome, tags=outcome.tags | {PROBLEM: problem})
    return dataclasses.replace(outcome, artifacts=_artifacts(study))


def report_is_old(folder: Path) -> bool:
    """Return whether a study's report is not there, or older than its ledger."""
    report = folder / "report.html"
    return not report.is_file() or report.stat().st_mtime < (folder / FILE_NAME).stat().st_mtime


def summarize(folder: Path, history: History) -> Outcome:
    """Return the outcome of a study without writing anything; an empty one if nothing has finished.

    Parameters
    ----------
    folder : Path
        The study's folder.
    history : History
        What its ledger said when a run of the study ended: one that was resumed has ended more
        than once.
    """
    study = tables_of(folder, history)
    return _summarize(study) if study.anything_finished else Outcome()


def _summarize(study: Study) -> Outcome:
    history = study.history
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
    if text := front_text(study):
        tags["front"] = text
    return Outcome(tags, metrics, models=_models(study))


def _artifacts(study: Study) -> list[Path]:
    """Return the report and, where costs were searched for, the Pareto front."""
    artifacts = [study.folder / "report.html"]
    if front_text(study):
        artifacts += [
            study.folder / "tables" / "front.csv",
            *sorted((study.folder / "figures").glob("front-*.png")),
        ]
    return artifacts


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
