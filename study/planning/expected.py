"""What a study is expected to run: the jobs that its own searcher and its own confirmation make, as
far as they can be known before its first trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.planning.sample import Counts, Sample
from study.record.events import TrialEnded, TrialScored
from study.record.history import History
from study.record.identities import Role, TrialId, TrialStatus
from study.tune.budget import Work
from study.tune.proposals import make_searcher
from study.tune.trainable import Job
from study.workflow.confirmation import (
    configurations_to_confirm,
    confirm_jobs,
    leak_configurations,
    leak_jobs,
)
from study.workflow.setup import is_prepared
from study.workflow.stages import Stage, stages_of

EXPECTED_FRONT = 5  # trials on a front of quality and cost


@dataclass(frozen=True)
class ExpectedStudy:
    """What a study is expected to run.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    counts : Counts
        Its images.
    store : Store
        A sample of them, at all of its levels.
    prepared : bool
        Whether they are prepared already.
    searched, confirmed, leaking : list of Job
        The trials of its search, of its confirmation, and of what measures the leak.
    """

    config: StudyConfig
    counts: Counts
    store: Store
    prepared: bool
    searched: list[Job]
    confirmed: list[Job]
    leaking: list[Job]

    @property
    def stages(self) -> list[Stage]:
        """Its stages, in their order."""
        return stages_of(self.config)

    @property
    def jobs(self) -> list[Job]:
        """Every trial."""
        return [*self.searched, *self.confirmed, *self.leaking]

    def scored_images(self, job: Job) -> int:
        """Return of how many images the score of a job is made."""
        task = job.task
        if task.held_out is None:
            return len(task.eval_fields) * len(self.store.levels)
        return sum(len(task.held_out[field]) for field in task.eval_fields)


def expect_study(
    config: StudyConfig, counts: Counts, sample: Sample, scratch: Path
) -> ExpectedStudy:
    """Ask the study's searcher what it proposes while nothing is known, and its confirmation what
    it trains.

    Parameters
    ----------
    config : StudyConfig
        The study's.
    counts : Counts
        Its images.
    sample : Sample
        Prepared images at all of its levels.
    scratch : Path
        A folder for what the searcher keeps.
    """
    store, split, stages = sample.store, counts.split, stages_of(config)
    searched = []
    if Stage.SEARCH in stages:
        searched = list(_propose(config, store, split, scratch))
    history = _expected_history(config, store, searched)
    configurations = configurations_to_confirm(config, history)
    leaking = leak_configurations(configurations) if Stage.LEAK in stages else []
    return ExpectedStudy(
        config,
        counts,
        store,
        is_prepared(config),
        searched,
        confirm_jobs(config, configurations, split, store, budgets={}, wells=counts.wells),
        leak_jobs(config, leaking, split, store, budgets={}),
    )


def by_size(config: StudyConfig, store: Store, jobs: list[Job]) -> list[Job]:
    """Return the searched jobs, the one whose epoch computes least first."""
    work = Work(config, store)
    searched = [job for job in jobs if job.role == Role.SEARCHED]
    return sorted(searched, key=lambda job: work.of(job)[0])


def _propose(config: StudyConfig, store: Store, split: Split, scratch: Path) -> Iterator[Job]:
    searcher = make_searcher(config, store, split, folder=scratch, history=History())
    while isinstance(proposed := searcher.suggest(str(searcher.proposed)), dict):
        yield Job.of(proposed)


def _expected_history(config: StudyConfig, store: Store, searched: list[Job]) -> History:
    """Return what a search is expected to leave: its baselines, and as many winners as will be
    confirmed.

    Nobody knows who wins: a configuration of middling cost stands for each.
    """
    history, best = History(), config.confirm.best
    for job in searched:
        if job.role == Role.BASELINE:
            history.add(job.begun)
    proposed = by_size(config, store, searched)
    count = min(EXPECTED_FRONT if best == "front" else best, len(proposed))
    for number in range(1, count + 1):
        middle, name = proposed[len(proposed) // 2], f"expected winner {number}"
        run = middle.key | {"trial": TrialId(name=name)}
        history.add(replace(middle.begun, trial=run["trial"], label=name))
        history.add(
            TrialScored(
                **run,
                eval_split=middle.task.eval_split,
                levels=[],
                fields=[],
                wells=[],
                evaluation={},
                own={},
                summary={"objective": 0.0},
                cost=dict.fromkeys(config.search.objectives[1:], 0.0),
            )
        )
        epoch = middle.task.epochs
        history.add(TrialEnded(**run, status=TrialStatus.FINISHED, reason="", epoch=epoch))
    return history
