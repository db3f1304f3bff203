"""The run whose weights are the ones to use."""

from __future__ import annotations

from typing import Any

from analysis.differences import differences
from analysis.load import Study, anything_finished
from analysis.outcome_table import ranking
from analysis.verdicts import Verdict
from study.errors import StudyError


def best_run(study: Study, *, trial: int | None = None) -> dict[str, Any]:
    """Return a run whose weights are kept: of the trial that is asked for, or of the configuration
    to use.

    That is the search's winner, which was chosen on validation; the better baseline where the
    winner proved worse, or there is none.

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
        trial = _best_trial(study)
    runs = done[done["trial"] == trial] if len(done) else done
    if runs.empty:
        finished = (
            f"{row['trial']} ({row['label']})"
            for _, row in (done.drop_duplicates("trial") if len(done) else done).iterrows()
        )
        raise StudyError(
            f"no run of trial {trial} has finished in {study.folder}. Finished trials:"
            f" {', '.join(finished) or 'none'}"
        )
    return dict(
        runs.sort_values(["phase", "replicate"]).iloc[0]
    )  # "confirm" comes before "search": it saw more images


def _best_trial(study: Study) -> int:
    outcome = ranking(study)
    worse = {one.candidate for one in differences(study) if one.judgement.verdict == Verdict.WORSE}
    usable = outcome[outcome["role"].isin(["winner", "baseline"]) & ~outcome["label"].isin(worse)]
    usable = usable if len(usable) else outcome[outcome["role"] != "reference"]
    winners = usable[usable["role"] == "winner"]
    return int((winners if len(winners) else usable)["trial"].iloc[0])
