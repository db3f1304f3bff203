"""The run whose weights are the ones to use."""

from __future__ import annotations

from analysis.differences import differences
from analysis.load import Study
from analysis.outcome_table import Standing, ranking
from analysis.verdicts import Verdict
from study.errors import StudyError
from study.record.history import Run
from study.record.identities import Phase, TrialId


def best_run(study: Study, *, trial: TrialId | None = None) -> Run:
    """Return a run whose weights are kept: of the trial that is asked for, or of the configuration
    to use.

    That is the search's winner, which was chosen on validation; the better baseline where the
    winner proved worse, or there is none.

    Raises
    ------
    StudyError
        If no run of that trial has finished; those that have are named.
    """
    finished = [run for run in study.history.runs.values() if run.finished]
    if trial is None and finished:
        trial = _best_trial(study)
    runs = [run for run in finished if run.trial == trial]
    if not runs:
        labels = {run.trial: f"{run.trial} ({run.label})" for run in finished}
        raise StudyError(
            f"no run of trial {trial} has finished in {study.folder}. Finished trials:"
            f" {', '.join(labels.values()) or 'none'}"
        )
    # a confirmed run saw more images
    return min(runs, key=lambda run: (run.id.phase != Phase.CONFIRM, run.id))


def _best_trial(study: Study) -> TrialId:
    outcome = ranking(study)
    worse = {one.candidate for one in differences(study) if one.judgement.verdict == Verdict.WORSE}
    usable = outcome[
        outcome["role"].isin([Standing.WINNER, Standing.BASELINE]) & ~outcome["label"].isin(worse)
    ]
    usable = usable if len(usable) else outcome[outcome["role"] != Standing.REFERENCE]
    winners = usable[usable["role"] == Standing.WINNER]
    best: TrialId = (winners if len(winners) else usable)["trial"].iloc[0]
    return best
