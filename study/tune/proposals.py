"""What a configuration has its search propose: its space, the points to begin with, and the
searcher that goes on from there.
"""

from __future__ import annotations

from pathlib import Path

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import complete, fits
from search_spaces.comparators import initial_configurations
from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError
from study.record.events import Hyperparameters
from study.record.history import History
from study.record.identities import Phase
from study.tune.resume import warm_trials, with_hyperparameters
from study.tune.searcher import OptunaSearcher, Space
from study.tune.tasks import search_job, sizes_of


def make_searcher(
    config: StudyConfig, store: Store, split: Split, *, folder: Path, history: History
) -> OptunaSearcher:
    """Return what proposes the trials of a study; its Optuna storage is made in `folder`.

    Parameters
    ----------
    config, store, split : StudyConfig, Store, Split
        The study's.
    folder : Path
        Where the Optuna storage is kept.
    history : History
        What an earlier run of the same search has left.
    """
    space = space_of(config)

    def admit(hyperparameters: Hyperparameters) -> Hyperparameters | None:
        completed = complete(space, hyperparameters)
        return completed if fits(space, completed) else None

    past = {
        run.trial.number: with_hyperparameters(run, complete(space, run.hyperparameters))
        for run in history.of_phase(Phase.SEARCH)
        if run.trial.number is not None
    }
    return OptunaSearcher(
        space,
        baselines=baselines(sizes_of(config)),
        make_job=lambda configuration: search_job(config, store, split, configuration),
        folder=folder,
        sampler=config.search.searcher,
        seed=config.seed,
        trials=config.search.trials,
        past=past,
        costs=config.search.objectives[1:],
        initial=find_initial_configurations(config, space),
        warm=warm_trials(config, store, admit),
    )


def space_of(config: StudyConfig) -> Space:
    """Return the search space with the study's sizes: `HyperParameters` -> hyperparameters."""
    sizes = sizes_of(config)
    return lambda hp: SPACES[config.search.space](hp, sizes)


def find_initial_configurations(config: StudyConfig, space: Space) -> list[Hyperparameters]:
    """Return the configurations that a search begins with.

    Raises
    ------
    StudyError
        If the space does not hold them.
    """
    known = initial_configurations(sizes_of(config))
    absent = [name for name in config.search.initial_configurations if not fits(space, known[name])]
    if absent:
        raise StudyError(
            f"search.initial_configurations: the space {config.search.space!r} with these sizes"
            f" does not hold {', '.join(absent)}"
        )
    return [known[name] for name in config.search.initial_configurations]
