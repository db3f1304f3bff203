"""The run whose weights are the ones to use, and whether they are worth using."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.collapse import is_collapsed
from analysis.differences import differences
from analysis.endpoint import Endpoint, endpoint_by_well, primary_endpoint
from analysis.load import REFERENCE, Study
from analysis.outcome_table import Standing, ranking
from analysis.verdicts import Verdict
from study.errors import StudyError
from study.record.history import Run
from study.record.identities import Phase, Reference, ReferenceRole, RunId, TrialId


@dataclass(frozen=True)
class BestRun:
    """A run whose weights are kept, with what it scored beside the unrestored input.

    Parameters
    ----------
    run : Run
        The run.
    endpoint : Endpoint
        The primary endpoint, by which it is held against the unrestored input.
    scores, unrestored : dict
        Means over the defocused images that the run was scored on, at the evaluation resolution:
        ``ssim``, ``psnr`` and ``endpoint``; of the run, and of the unrestored input on the same
        images. Empty where they were not scored.
    collapsed : bool
        Whether the run does not look at its input.
    """

    run: Run
    endpoint: Endpoint
    scores: dict[str, float]
    unrestored: dict[str, float]
    collapsed: bool

    @property
    def below_unrestored(self) -> bool:
        """Whether its endpoint is below that of leaving the images as they are."""
        return bool(self.unrestored) and self.scores["endpoint"] < self.unrestored["endpoint"]

    @property
    def refusal(self) -> str:
        """Why its weights are not to be used; empty if they are."""
        if self.collapsed:
            return f"{self.run.label} collapsed: it restores the same image whatever it is shown"
        if self.below_unrestored:
            return f"{self.run.label} is below the unrestored input: {self._sides}"
        return ""

    @property
    def sentence(self) -> str:
        """What it scored beside the unrestored input, in words."""
        name = f"{self.run.label}, seed {self.run.id.replicate}"
        if not self.scores:
            return f"{name}: it was not scored beside the unrestored input."
        return f"{name}, on {self._split} images: {self._sides}."

    @property
    def _split(self) -> str:
        return self.run.begun.eval_split

    @property
    def _sides(self) -> str:
        ours = self._numbers(self.scores)
        if not self.unrestored:
            return ours
        return f"{ours}; the unrestored input {self._numbers(self.unrestored)}"

    def _numbers(self, scores: dict[str, float]) -> str:
        endpoint = self.endpoint
        text = f"SSIM {scores['ssim']:.4f}, PSNR {scores['psnr']:.2f} dB"
        if endpoint.objective in ("ssim", "psnr") and not endpoint.weights:
            return text
        return f"{endpoint.title} {scores['endpoint']:.{endpoint.digits}f}{endpoint.unit}, {text}"


def best_run(study: Study, *, trial: TrialId | None = None) -> Run:
    """Return a run whose weights are kept; see `choose_run`."""
    return choose_run(study, trial=trial).run


def choose_run(study: Study, *, trial: TrialId | None = None) -> BestRun:
    """Return a run whose weights are kept: of the trial that is asked for, or of the configuration
    to use, with what it scored beside the unrestored input.

    That configuration is the search's winner, which was chosen on validation; the better baseline
    where the winner proved worse, is not to be used (see `BestRun.refusal`), or there is none.

    Raises
    ------
    StudyError
        If no run of that trial has finished; those that have are named.
    """
    finished = [run for run in study.history.runs.values() if run.finished]
    if trial is None and finished:
        by_trial = [[run for run in finished if run.trial == one] for one in _by_outcome(study)]
        chosen = [_with_scores(study, choose_seed(study, runs)) for runs in by_trial]
        return next((best for best in chosen if not best.refusal), chosen[0])
    runs = [run for run in finished if run.trial == trial]
    if not runs:
        labels = {run.trial: f"{run.trial} ({run.label})" for run in finished}
        raise StudyError(
            f"no run of trial {trial} has finished in {study.folder}. Finished trials:"
            f" {', '.join(labels.values()) or 'none'}"
        )
    run = choose_seed(study, runs)
    return _with_scores(study, run)


def choose_seed(study: Study, runs: Iterable[Run]) -> Run:
    """Return the run of one configuration to use: not by its score on the test set, which would
    then be no test of it.

    A confirmed run saw more images than a search's, and none of validation is left to choose by.
    Of the confirmed ones a run that collapsed is left out, which its outputs alone tell; then the
    lowest loss at the end of training decides, then the order. Runs of another split than the first
    are left out: the search has seen images that they are scored on.
    """
    confirm = study.config.confirm

    def order(run: Run) -> tuple[bool, bool, bool, float, RunId]:
        confirmed = run.id.phase == Phase.CONFIRM
        other_split = confirmed and confirm.splits > 1 and run.id.replicate >= confirm.replicates
        collapsed = is_collapsed(study, run)
        return not confirmed, other_split, collapsed, _final_loss(run), run.id

    return min(runs, key=order)


def _final_loss(run: Run) -> float:
    if not run.epochs:
        return np.inf
    loss = run.epochs[max(run.epochs)].metrics.get("loss", np.inf)
    return np.inf if np.isnan(loss) else loss


def _with_scores(study: Study, run: Run) -> BestRun:
    images = study.images[study.images["level"] != study.in_focus]
    ours = images[
        (images["phase"] == run.id.phase)
        & (images["label"] == run.label)
        & (images["replicate"] == run.id.replicate)
    ]
    reference = Reference(ReferenceRole.UNRESTORED_INPUT, run.begun.eval_split).label
    theirs = images[(images["phase"] == REFERENCE) & (images["label"] == reference)]
    theirs = theirs.merge(ours[["field", "level"]], on=["field", "level"])
    return BestRun(
        run=run,
        endpoint=primary_endpoint(study),
        scores=_means(study, ours),
        unrestored=_means(study, theirs),
        collapsed=is_collapsed(study, run),
    )


def _means(study: Study, rows: pd.DataFrame) -> dict[str, float]:
    if rows.empty:
        return {}
    endpoint = float(endpoint_by_well(study, rows)["endpoint"].mean())
    return {name: float(rows[name].mean()) for name in ("ssim", "psnr")} | {"endpoint": endpoint}


def _by_outcome(study: Study) -> list[TrialId]:
    """Return the configurations to use, in the order in which they are: the winner unless it proved
    worse, then the baselines, the best of them first; any other where there are neither.
    """
    outcome = ranking(study)
    worse = {one.candidate for one in differences(study) if one.judgement.verdict == Verdict.WORSE}
    usable = outcome[
        outcome["role"].isin([Standing.WINNER, Standing.BASELINE]) & ~outcome["label"].isin(worse)
    ]
    usable = usable if len(usable) else outcome[outcome["role"] != Standing.REFERENCE]
    first = usable["role"] == Standing.WINNER
    return [*usable[first]["trial"], *usable[~first]["trial"]]
