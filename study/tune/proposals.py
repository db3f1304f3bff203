"""What a configuration has its search propose: its space, the points to begin with, and the
searcher that goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import complete, fits
from search_spaces.comparators import initial_configurations
from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError
from study.tune.resume import PastTrial, warm_trials
from study.tune.searcher import OptunaSearcher
from study.tune.tasks import search_job, sizes_of
from study.tune.trainable import Job


def make_searcher(
    config: StudyConfig, store: Store, split: Split, *, folder: Path, past: Mapping[int, PastTrial]
) -> OptunaSearcher:
    """Return what proposes the trials of a study; its Optuna storage is made in `folder`."""
    sizes = sizes_of(config)

    def make_job(number: int, baseline: str | None, hyperparameters: dict[str, Any]) -> Job:
        return search_job(config, store, split, number, baseline, hyperparameters)

    space = space_of(config)

    def admit(hyperparameters: dict[str, Any]) -> dict[str, Any] | None:
        completed = complete(space, hyperparameters)
        return completed if fits(space, completed) else None

    past = {
        number: replace(trial, hyperparameters=complete(space, trial.hyperparameters))
        for number, trial in past.items()
    }
    return OptunaSearcher(
        space,
        baselines=baselines(sizes),
        make_job=make_job,
        folder=folder,
        sampler=config.search.searcher,
        seed=config.seed,
        trials=config.search.trials,
        past=past,
        costs=config.search.objectives[1:],
        first=find_initial_configurations(config, space),
        warm=warm_trials(config, store, admit),
    )


def space_of(config: StudyConfig) -> Callable[[Any], dict[str, Any]]:
    """Return the search space with the study's sizes: hyperparameters -> point."""
    sizes = sizes_of(config)
    return lambda hp: SPACES[config.search.space](hp, sizes)


def find_initial_configurations(
    config: StudyConfig, space: Callable[[Any], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the points that a search begins with; a `StudyError` if the space does not hold
    them.
    """
    configurations = [
        initial_configurations(sizes_of(config))[name]
        for name in config.search.initial_configurations
    ]
    if not all(fits(space, hyperparameters) for hyperparameters in configurations):
        raise StudyError(
            f"search.initial_configurations: {', '.join(config.search.initial_configurations)} are"
            f" no points of the space {config.search.space!r} with these sizes"
        )
    return configurations
