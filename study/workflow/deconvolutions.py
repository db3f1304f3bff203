"""Classical deconvolutions beside the networks: tuned on images that no test score rests on, then
scored on some of the test fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Resolution, Store
from study.errors import StudyError
from study.record.events import ReferenceScored
from study.record.identities import Reference, ReferenceRole
from study.record.ledger import Ledger
from study.score import Score, Table
from study.trial.classical import DECONVOLUTIONS
from study.trial.deconvolving import choose_parameter, score_deconvolution
from study.tune.callbacks import Log
from study.tune.remote import Answer, call_on_cluster

TUNING_FIELDS = 4  # at each level, at most
Parameters = dict[int, float]  # level -> the value of a method's parameter


@dataclass(frozen=True)
class _TuningTask:
    method: str
    store: str
    size: int
    fields: list[int]
    level: int
    metric: str


@dataclass(frozen=True)
class _ScoringTask:
    method: str
    store: str
    size: int
    field: int
    parameters: Parameters


def deconvolved_fields(config: StudyConfig, store: Store, fields: Sequence[int]) -> list[int]:
    """Return those of the test fields that classical deconvolution restores too, evenly chosen;
    none where the true blur is not known.
    """
    count = min(config.evaluation.deconvolved_fields, len(fields))
    return _evenly(fields, count) if store.blur_known else []


def tuning_fields(
    split: Split, level: int, *, scored: Sequence[int], held_out: Sequence[Sequence[int]] | None
) -> list[int]:
    """Return the fields that a deconvolution is tuned on at a level.

    Parameters
    ----------
    split : Split
        Which fields are on which side: those of validation, or of training where it is empty.
    level : int
        Index of the level.
    scored : sequence of int
        The fields that it will be scored on; where the confirmation is repeated over splits, some
        of validation are among them, and are left out.
    held_out : sequence of sequences of int, optional
        Under a split within levels, for each field the levels that are not trained on: the fields
        are of those trained on at this level, and not of the scored ones, while there are others.
    """
    unseen = [field for field in split.validation if field not in scored]
    candidates = unseen or [field for field in split.train if field not in scored] or split.train
    if held_out is not None:
        held_in = [field for field in split.every if level not in held_out[field]]
        candidates = [field for field in held_in if field not in scored] or held_in
    return _evenly(candidates, min(TUNING_FIELDS, len(candidates)))


def tuning_metric(config: StudyConfig) -> str:
    """Return what parameters are chosen by: the metric that the study's first objective is of."""
    return "psnr" if config.search.objectives[0].endswith("psnr") else "ssim"


def record_deconvolutions(
    config: StudyConfig,
    store: Store,
    ledger: Ledger,
    fields: Sequence[int],
    log: Log,
    *,
    split: Split,
    held_out: list[list[int]] | None = None,
) -> None:
    """Tune classical deconvolutions and score what they make of some of the test fields, unless the
    ledger has it.

    Parameters
    ----------
    config, store, ledger : StudyConfig, Store, Ledger
        The study's.
    fields : sequence of int
        Its test fields.
    log : callable
        Prints a line.
    split : Split
        Its sides.
    held_out : list of list of int, optional
        For each field the levels that are not trained on, under a split within levels.

    Raises
    ------
    StudyError
        If one cannot be tuned or scored.
    """
    if config.evaluation.deconvolved_fields and not store.blur_known:
        log(
            "no deconvolution beside the networks: it needs the true blur, which is not known of"
            f" these images of {store.layout.title}"
        )
    chosen = deconvolved_fields(config, store, fields)
    wanted = {
        name: Reference(ReferenceRole.DECONVOLUTION, "test", name=name, fields=len(chosen))
        for name in DECONVOLUTIONS
    }
    missing = {
        name: reference
        for name, reference in wanted.items()
        if reference not in ledger.history.references
    }
    if not chosen or not missing:
        return
    parameters = _tune(config, store, split, list(missing), chosen, held_out)
    side = "held-in" if held_out is not None else "validation" if split.validation else "training"
    log(f"tuned {', '.join(missing)} at every level on {side} images")
    for name, score in _score(config, store, parameters, chosen):
        reference, chosen_values = missing[name], parameters[name]
        ledger.append(ReferenceScored(reference=reference, parameters=chosen_values, **vars(score)))
        log(f"scored {reference.label}")


def _tune(
    config: StudyConfig,
    store: Store,
    split: Split,
    methods: Sequence[str],
    scored: Sequence[int],
    held_out: list[list[int]] | None,
) -> dict[str, Parameters]:
    """Return method -> its parameters, one call for each method and level."""
    tasks = [
        _TuningTask(
            method,
            str(store.folder),
            config.evaluation.resolution,
            tuning_fields(split, level, scored=scored, held_out=held_out),
            level,
            tuning_metric(config),
        )
        for method in methods
        for level in store.defocused_indices
    ]
    parameters: dict[str, Parameters] = {method: {} for method in methods}
    for index, answer in call_on_cluster(config.resources, _choose, tasks):
        task = tasks[index]
        level = store.levels[task.level]
        if isinstance(answer, str):
            raise StudyError(f"{task.method} could not be tuned at level {level}: {answer}")
        parameters[task.method][level] = answer["parameter"]
    return {method: dict(sorted(of_level.items())) for method, of_level in parameters.items()}


def _score(
    config: StudyConfig,
    store: Store,
    parameters: dict[str, Parameters],
    fields: Sequence[int],
) -> Iterator[tuple[str, Score]]:
    """Yield each method's score as it comes, from one call for each method and field."""
    folder, size = str(store.folder), config.evaluation.resolution
    tasks = [
        _ScoringTask(method, folder, size, field, of_level)
        for method, of_level in parameters.items()
        for field in fields
    ]
    parts: dict[str, dict[int, Score]] = {method: {} for method in parameters}
    for index, answer in call_on_cluster(config.resources, _deconvolve, tasks):
        task = tasks[index]
        if isinstance(answer, str):
            raise StudyError(f"{task.method} could not be scored: {answer}")
        parts[task.method][task.field] = Score(**answer)
        if len(parts[task.method]) == len(fields):
            in_order = [parts[task.method][field] for field in fields]
            yield task.method, _join(in_order, store)


def _join(parts: Sequence[Score], store: Store) -> Score:
    """Return the scores of several fields as one."""

    def rows(tables: Sequence[Table]) -> Table:
        return {name: [row for table in tables for row in table[name]] for name in tables[0]}

    evaluation = rows([part.evaluation for part in parts])
    return Score(
        eval_split=parts[0].eval_split,
        levels=parts[0].levels,
        fields=[field for part in parts for field in part.fields],
        wells=[well for part in parts for well in part.wells],
        evaluation=evaluation,
        own=rows([part.own for part in parts]),
        summary={
            name: float(np.nanmean(np.array(table)[:, store.defocused_indices]))
            for name, table in evaluation.items()
        },
    )


def _choose(task: _TuningTask) -> Answer:
    parameter = choose_parameter(
        DECONVOLUTIONS[task.method],
        Store(Path(task.store)),
        evaluation=Resolution(task.size, "antialiased"),
        fields=task.fields,
        level=task.level,
        metric=task.metric,
    )
    return {"parameter": parameter}


def _deconvolve(task: _ScoringTask) -> dict[str, Any]:
    score = score_deconvolution(
        DECONVOLUTIONS[task.method],
        Store(Path(task.store)),
        evaluation=Resolution(task.size, "antialiased"),
        fields=[task.field],
        eval_split="test",
        parameters=task.parameters,
    )
    return dict(vars(score))


def _evenly(fields: Sequence[int], count: int) -> list[int]:
    return [fields[index * len(fields) // count] for index in range(count)]
