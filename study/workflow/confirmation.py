"""The last word: the best and the baselines again, over replicates, trained on all but the test set
and scored on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.comparators import TUNED, comparators, tuned_baseline
from study.config import ResourcesConfig, StudyConfig, derive_seed
from study.data.splits import Split, hold_out_within_levels, split_by_well
from study.data.store import Store
from study.errors import StudyError
from study.record.events import Hyperparameters, StepTimed
from study.record.history import History
from study.record.identities import Phase, Role, RunId, TrialId
from study.record.ledger import Ledger
from study.trial.steps import steps_an_epoch, within_steps
from study.trial.task import TrialTask
from study.tune.budget import within_budget
from study.tune.callbacks import Log
from study.tune.remote import Answer, call_on_cluster
from study.tune.resume import earlier_winner
from study.tune.tasks import Configuration, baseline_configurations, make_task, sizes_of
from study.tune.trainable import Job

TIMED_ROUNDS = 3  # the fastest counts
TimeSteps = Callable[[TrialTask], Answer]


@dataclass(frozen=True)
class Budget:
    """What a run is trained for: epochs and, where they are shorter than all images would make
    them, the steps that they share.
    """

    epochs: int
    steps: int | None = None


def configurations_to_confirm(config: StudyConfig, history: History) -> list[Configuration]:
    """Return the baselines, the best of the search, and the comparators."""
    if config.search.space == "none":
        chosen = baseline_configurations(config)
    else:
        costs = config.search.objectives[1:]
        begun = history.candidates(best=config.confirm.best, costs=costs)
        chosen = [Configuration.of(one) for one in begun]
    for name in config.confirm.comparators:
        if name not in TUNED:
            label, hyperparameters = find_comparator(config, name)
            trial = TrialId(name=name)
        elif (winner := history.winner()) is None:
            continue  # nothing was searched to its end
        else:
            of_winner = dict(winner.hyperparameters)
            label, hyperparameters = tuned_baseline(name, sizes_of(config), of_winner)
            label = f"{label}, trained as {winner.label}"
            # of its own for each winner: a search that is extended can have another
            trial = TrialId(name=f"{name}-{winner.trial.file_name}")
        chosen.append(Configuration(trial, label, Role.COMPARATOR, hyperparameters))
    return chosen


def confirm_jobs(
    config: StudyConfig,
    configurations: Sequence[Configuration],
    split: Split,
    store: Store,
    *,
    budgets: Mapping[TrialId, Budget],
    wells: Sequence[str] | None = None,
) -> list[Job]:
    """Return one job for each configuration, split and replicate: trained on train and validation,
    scored on test. The replicates of the first split come first.

    Parameters
    ----------
    config : StudyConfig
        The study's; with ``dataset.split: within_levels`` every field is trained on and scored, at
        levels of its own.
    configurations : sequence of Configuration
        What to train.
    split : Split
        Which fields are on which side.
    store : Store
        The prepared images.
    budgets : mapping
        Budgets of configurations, where they are not the study's.
    wells : sequence of str, optional
        The well of each field; the store's if not given.
    """
    sides: list[dict[str, Any]] = [
        {"train_fields": sorted([*one.train, *one.validation]), "eval_fields": one.test}
        for one in confirmation_splits(config, split, wells or store.wells)
    ]
    if config.dataset.split == "within_levels":
        held_out = _held_out(config, split, store)
        sides = [{"train_fields": split.every, "eval_fields": split.every, "held_out": held_out}]
    return list(_jobs(config, store, Phase.CONFIRM, configurations, sides, budgets))


def confirmation_splits(config: StudyConfig, split: Split, wells: Sequence[str]) -> list[Split]:
    """Return the splits that the confirmation is repeated over: the study's own, and those that
    `confirm.splits` asks for besides, each drawn anew from the wells of all fields.
    """
    others = [
        split_by_well(
            wells,
            test=config.dataset.test,
            validation=0.0,
            seed=derive_seed(config.seed, "split", number),
        )
        for number in range(1, config.confirm.splits)
    ]
    return [split, *others]


def leak_configurations(confirmed: Iterable[Configuration]) -> list[Configuration]:
    """Return those of the confirmed configurations that the leak is measured with: the whole-image
    baseline.
    """
    return [
        one
        for one in confirmed
        if one.role == Role.BASELINE and one.hyperparameters["family"] == "whole"
    ]


def leak_jobs(
    config: StudyConfig,
    configurations: Sequence[Configuration],
    split: Split,
    store: Store,
    *,
    budgets: Mapping[TrialId, Budget],
) -> list[Job]:
    """Return the same configurations with the same seeds and epochs under the paper's split within
    levels, scored on images that no split trains on; see `confirm_jobs`.

    The network of the split by well has seen none of their fields; this one has seen them at other
    levels.
    """
    sides: dict[str, Any] = {
        "train_fields": split.every,
        "eval_fields": split.test,
        "held_out": _held_out(config, split, store),
    }
    return list(_jobs(config, store, Phase.LEAK, configurations, [sides], budgets))


def _jobs(
    config: StudyConfig,
    store: Store,
    phase: Phase,
    configurations: Sequence[Configuration],
    sides: Sequence[dict[str, Any]],
    budgets: Mapping[TrialId, Budget],
) -> Iterator[Job]:
    # they are there to be compared with the winner
    tuned = {one.trial.value for one in configurations if _is_tuned(one)}
    for one in configurations:
        for replicate in range(len(sides) * config.confirm.replicates):
            run = RunId(phase, one.trial, replicate)
            task = make_task(
                config,
                store,
                **sides[replicate // config.confirm.replicates],
                hyperparameters=one.hyperparameters,
                eval_split="test",
                rung_images=0,
                seed=derive_seed(config.seed, "confirm", one.trial.value, replicate),
                folder=str(config.folder / "trials" / run.file_name),
            )
            if (budget := budgets.get(one.trial)) is not None:
                task = _within(task, store, budget)
            elif config.confirm.steps is not None:
                task = _within(task, store, Budget(1, config.confirm.steps))
            elif one.role == Role.SEARCHED or one.trial.value in tuned:
                task = within_budget(config, task, store)
            yield Job(run, one.label, one.role, task)


def _within(task: TrialTask, store: Store, budget: Budget) -> TrialTask:
    if budget.steps is None:
        return replace(task, epochs=budget.epochs)
    an_epoch = steps_an_epoch(task, store)  # of another split it can be a shorter one
    return within_steps(task, budget.steps, steps_per_epoch=an_epoch, epochs=budget.epochs)


def _is_tuned(one: Configuration) -> bool:
    return str(one.trial.value).startswith(tuple(TUNED))


def _held_out(config: StudyConfig, split: Split, store: Store) -> list[list[int]]:
    return hold_out_within_levels(
        len(split.every),
        len(store.levels),
        share=config.dataset.test,
        seed=derive_seed(config.seed, "within levels"),
    )


def find_comparator(config: StudyConfig, name: str) -> tuple[str, Hyperparameters]:
    """Return label and hyperparameters of a configuration from outside the search.

    Raises
    ------
    StudyError
        If it sees images of a size that the study does not have.
    """
    if name == "earlier":
        label, hyperparameters = earlier_winner(config)
    else:
        label, hyperparameters = comparators(sizes_of(config))[name]
    if int(hyperparameters["image_size"]) not in config.image_sizes:
        raise StudyError(
            f"confirm.comparators: the {label} sees images of"
            f" {hyperparameters['image_size']} px, this study has {config.image_sizes}"
        )
    return label, hyperparameters


def first_replicates(jobs: Iterable[Job]) -> list[Job]:
    """Return one job of each configuration, the first: a step takes the same in all."""
    return [job for job in jobs if job.run.replicate == 0]


def budgets_in_steps(
    config: StudyConfig, timings: Mapping[TrialId, StepTimed]
) -> dict[TrialId, Budget]:
    """Return the budgets of `confirm.seconds`, each to the step by a measured one."""
    seconds = config.confirm.seconds
    if seconds is None:
        return {}
    steps = {one: max(1, round(seconds / timed.seconds_per_step)) for one, timed in timings.items()}
    return {
        one: Budget(-(-steps[one] // timed.steps_per_epoch), steps[one])
        for one, timed in timings.items()
    }


def record_timings(
    jobs: Sequence[Job],
    *,
    time_steps: TimeSteps,
    resources: ResourcesConfig,
    ledger: Ledger,
    log: Log,
) -> None:
    """Measure a training step of each configuration, alone on the cluster, unless the ledger has
    it.

    Raises
    ------
    StudyError
        If one cannot be measured.
    """
    known = ledger.history.timings
    missing = [job for job in first_replicates(jobs) if job.run.trial not in known]
    fastest: dict[TrialId, StepTimed] = {}
    # one after another, round after round: whatever else the machine does falls on all alike
    for job in missing * TIMED_ROUNDS:
        # epochs of all images: of one that is cut short, its beginning would be timed
        [(_, answer)] = call_on_cluster(resources, time_steps, [replace(job.task, steps=None)])
        if isinstance(answer, str):
            raise StudyError(f"a training step of {job.label} could not be timed: {answer}")
        timed, trial = StepTimed(trial=job.run.trial, **answer), job.run.trial
        if trial not in fastest or timed.seconds_per_step < fastest[trial].seconds_per_step:
            fastest[trial] = timed
    labels = {job.run.trial: job.label for job in missing}
    for trial, timed in fastest.items():
        ledger.append(timed)
        log(
            f"timing | {labels[trial]}: {timed.seconds_per_step:.3f} s a step,"
            f" {timed.steps_per_epoch} steps an epoch"
        )
