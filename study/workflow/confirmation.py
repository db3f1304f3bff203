"""The last word: the best and the baselines again, over replicates, trained on all but the test set
and scored on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from search_spaces.comparators import comparators
from study.config import StudyConfig, derive_seed
from study.data.splits import Split, hold_out_within_levels
from study.data.store import Store
from study.errors import StudyError
from study.tune.resume import earlier_winner
from study.tune.tasks import sizes_of
from study.tune.trainable import Job

Configurations = dict[int, dict[str, Any]]


def choose_candidates(
    events: list[dict[str, Any]], *, best: int | Literal["front"], costs: Sequence[str] = ()
) -> list[int]:
    """Return the trials to confirm: every baseline, and the searched trials with the best objective
    on validation.

    Parameters
    ----------
    events : list of dict
        The study's ledger.
    best : int or "front"
        How many searched trials; all of the Pareto front.
    costs : sequence of str
        What was searched for besides: then only trials of the Pareto front are confirmed, those
        that no other beats in one and equals in all.
    """
    trials = {
        event["trial"]: event
        for event in events
        if event["event"] == "trial" and event["phase"] == "search"
    }
    scores = {
        event["trial"]: event["summary"]["objective"]
        for event in events
        if event["event"] == "score" and event["phase"] == "search"
    }
    searched = [trial for trial in scores if not trials[trial]["baseline"]]
    if costs:
        spent = {
            event["trial"]: event["cost"]
            for event in events
            if event["event"] == "score" and event["phase"] == "search"
        }
        goals = {
            trial: (scores[trial], *(-float(spent[trial][name]) for name in costs))
            for trial in searched
        }
        searched = [
            trial
            for trial in searched
            if not any(_beats(goals[other], goals[trial]) for other in searched)
        ]
    searched.sort(key=lambda trial: (-scores[trial], trial))
    return [trial for trial, event in trials.items() if event["baseline"]] + (
        searched if best == "front" else searched[:best]
    )


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def confirm_jobs(
    config: StudyConfig,
    configurations: Configurations,
    template: dict[str, Any],
    split: Split,
    store: Store,
    *,
    epochs: Mapping[int, int],
) -> list[Job]:
    """Return one job for each candidate and replicate: trained on train and validation, scored on
    test.

    Parameters
    ----------
    config : StudyConfig
        The study's; with ``dataset.split: within_levels`` every field is trained on and judged, at
        levels of its own.
    configurations : dict
        Trial -> its `trial` event: label, baseline, hyperparameters.
    template : dict
        A task's values that all trials of the study share.
    split : Split
        Which fields are on which side.
    store : Store
        The prepared images.
    epochs : mapping
        Trial -> its budget, where that is not the study's.
    """
    sides: dict[str, Any] = {
        "train_fields": sorted([*split.train, *split.validation]),
        "eval_fields": split.test,
    }
    if config.dataset.split == "within_levels":
        every = list(range(len(store.fields)))
        sides = {"train_fields": every, "eval_fields": every, "held_out": _held_out(config, store)}
    return [
        _job(
            config,
            "confirm",
            trial,
            replicate,
            hyperparameters,
            template | sides | ({"epochs": epochs[trial]} if trial in epochs else {}),
        )
        for trial, replicate, hyperparameters in _runs(config, configurations)
    ]


def leak_jobs(
    config: StudyConfig,
    configurations: Configurations,
    template: dict[str, Any],
    split: Split,
    store: Store,
    *,
    epochs: Mapping[int, int],
) -> list[Job]:
    """Return the same configurations with the same seeds and epochs under the paper's split within
    levels, judged on images that no split trains on.

    The network of the split by well has seen none of their fields; this one has seen them at other
    levels.
    """
    sides = {
        "train_fields": list(range(len(store.fields))),
        "eval_fields": split.test,
        "held_out": _held_out(config, store),
    }
    return [
        _job(
            config,
            "leak",
            trial,
            replicate,
            hyperparameters,
            template | sides | {"epochs": epochs[trial]},
        )
        for trial, replicate, hyperparameters in _runs(config, configurations)
    ]


def _runs(
    config: StudyConfig, configurations: Configurations
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for trial, hyperparameters in configurations.items():
        for replicate in range(config.confirm.replicates):
            yield trial, replicate, hyperparameters


def _job(
    config: StudyConfig,
    phase: str,
    trial: int,
    replicate: int,
    hyperparameters: dict[str, Any],
    template: dict[str, Any],
) -> Job:
    task = template | {
        "hyperparameters": hyperparameters["hyperparameters"],
        "eval_split": "test",
        "rung_images": 0,
        "seed": derive_seed(config.seed, "confirm", trial, replicate),
        "folder": str(config.folder / "trials" / f"{phase}-{trial:04d}-{replicate}"),
    }
    return Job(phase, trial, replicate, hyperparameters["label"], hyperparameters["baseline"], task)


def _held_out(config: StudyConfig, store: Store) -> list[list[int]]:
    return hold_out_within_levels(
        len(store.fields),
        len(store.levels),
        share=config.dataset.test,
        seed=derive_seed(config.seed, "within levels"),
    )


def find_comparator(config: StudyConfig, name: str) -> tuple[str, dict[str, Any]]:
    """Return label and point of a configuration from outside the search."""
    label, hyperparameters = (
        earlier_winner(config) if name == "earlier" else comparators(sizes_of(config))[name]
    )
    if int(hyperparameters["image_size"]) not in config.image_sizes:
        raise StudyError(
            f"confirm.comparators: the {label} sees images of {hyperparameters['image_size']} px,"
            f" this study has {config.image_sizes}"
        )
    return label, hyperparameters
