"""What an earlier study gives a new search: trials whose results hold here too, or configurations
to try first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from study.config import StudyConfig
from study.data.store import Store
from study.errors import StudyError
from study.record.events import Hyperparameters
from study.record.history import History, Run
from study.record.identities import Phase, Role
from study.record.ledger import read_history

# what a score and a rung score depend on
SCORED_BY = ("objectives", "level_weights", "max_tflop", "rung_images")
# of an earlier study on other images: the best so many are tried first
WARM_PROPOSALS = 4
Admit = Callable[[Hyperparameters], Hyperparameters | None]


@dataclass(frozen=True)
class WarmStart:
    """What an earlier study gives a new search.

    Parameters
    ----------
    told : list of Run
        Trials whose results hold here too: those of the same images, told to the searcher as they
        ended.
    proposed : list of dict
        Configurations to try first: the best of a study on other images, whose results do not hold
        here.
    """

    told: list[Run] = field(default_factory=list)
    proposed: list[Hyperparameters] = field(default_factory=list)


def with_hyperparameters(run: Run, hyperparameters: Hyperparameters) -> Run:
    """Return a run as if its configuration had been another."""
    return replace(run, begun=replace(run.begun, hyperparameters=hyperparameters))


def earlier_winner(config: StudyConfig) -> tuple[str, Hyperparameters]:
    """Return label and hyperparameters of the winner of the study that a configuration starts warm
    from: the searched trial that was best on validation.
    """
    folder = Path(str(config.search.warm_start))
    winner = read_history(folder).winner()
    if winner is None:
        raise StudyError(
            f"search.warm_start: no searched trial of {folder} ran to its end, so it has no winner"
            " to confirm"
        )
    return f"winner of {folder.name}", winner.hyperparameters


def warm_trials(
    config: StudyConfig, store: Store, admit: Admit = lambda hyperparameters: hyperparameters
) -> WarmStart:
    """Read the trials of the study that a configuration starts warm from; its baselines are left
    out, for they are run anyway.

    Parameters
    ----------
    config, store : StudyConfig, Store
        The new study's.
    admit : callable, optional
        Returns hyperparameters as the space is here, or None if it holds no such configuration.

    Raises
    ------
    StudyError
        If it searched another space.
    """
    if config.search.warm_start is None:
        return WarmStart()
    earlier = read_history(Path(config.search.warm_start))
    if (space := earlier.study.config.search.space) != config.search.space:
        raise StudyError(
            f"search.warm_start: {config.search.warm_start} searched the space {space}, not"
            f" {config.search.space}"
        )
    runs = [
        with_hyperparameters(run, admitted)
        for run in earlier.of_phase(Phase.SEARCH)
        if run.role == Role.SEARCHED
        and run.curve
        and run.end is not None
        and run.end.status != "failed"
        and (admitted := admit(run.hyperparameters)) is not None
    ]
    if _same_scores(config, store, earlier):
        return WarmStart(told=runs)
    finished = [run for run in runs if run.finished]
    finished.sort(key=lambda run: -run.curve[max(run.curve)])
    return WarmStart(proposed=[run.hyperparameters for run in finished[:WARM_PROPOSALS]])


def _same_scores(config: StudyConfig, store: Store, earlier: History) -> bool:
    """Return whether the earlier study has the same images on the same sides, scored in the same
    way: nothing that is a test image here was learned from there.
    """
    there = earlier.study.config
    return (
        earlier.study.store.fingerprint == store.fingerprint
        and there.seed == config.seed
        and there.sizes == config.sizes
        and there.training == config.training
        and there.evaluation == config.evaluation
        and all(getattr(there.search, name) == getattr(config.search, name) for name in SCORED_BY)
        and all(
            getattr(there.dataset, name) == getattr(config.dataset, name)
            for name in ("test", "validation", "split", "normalisation")
        )
    )
