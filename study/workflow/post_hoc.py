"""What confirmed networks are asked after their training: their score on another data set, and what
stitching patches costs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.record.events import (
    Hyperparameters,
    PostHocEvent,
    StitchingMeasured,
    TransferScored,
)
from study.record.history import History, Run
from study.record.identities import Phase
from study.record.ledger import Ledger
from study.trial.task import PostHocTask
from study.tune.callbacks import Log
from study.tune.remote import Answer, call_on_cluster
from study.tune.tasks import node_values
from study.workflow.confirmation import confirmation_splits

EVENTS: dict[str, type[PostHocEvent]] = {
    event.kind: event for event in (TransferScored, StitchingMeasured)
}
Question = tuple[Run, PostHocTask]


def evaluate_post_hoc(
    config: StudyConfig,
    store: Store,
    split: Split,
    other: Store | None,
    *,
    answer_question: Callable[[PostHocTask], Answer],
    ledger: Ledger,
    log: Log,
) -> list[str]:
    """Ask every confirmed network what the ledger has no answer to yet; return what could not be
    answered, in words.

    Parameters
    ----------
    config, store, split : StudyConfig, Store, Split
        The study's.
    other : Store or None
        The other data set.
    answer_question : callable
        Runs in a worker.
    ledger : Ledger
        The study's; answers are appended.
    log : callable
        Prints a line.
    """
    questions = list(_questions(config, store, split, other, ledger.history))
    if not questions:
        return []
    kinds = ", ".join(sorted({task.question for _, task in questions}))
    log(f"post-hoc: {len(questions)} questions to the confirmed networks ({kinds})")
    problems = []
    answers = call_on_cluster(config.resources, answer_question, [task for _, task in questions])
    for done, (index, answer) in enumerate(answers, start=1):
        run, task = questions[index]
        asked = f"{task.question} of {run.label}, seed {run.id.replicate}"
        if isinstance(answer, str):
            problems.append(f"{asked}: {answer}")
            continue
        event = EVENTS[task.question]
        ledger.append(event(trial=run.trial, replicate=run.id.replicate, **answer))
        log(f"post-hoc {done}/{len(questions)} | {asked}")
    return problems


def _questions(
    config: StudyConfig, store: Store, split: Split, other: Store | None, history: History
) -> Iterator[Question]:
    shared: dict[str, Any] = {
        "evaluation_size": config.evaluation.resolution,
        "inference": config.evaluation.inference,
        "threads": config.resources.cpus_per_trial,
        **node_values(config),
    }
    splits = confirmation_splits(config, split, store.wells)
    for run in history.finished(Phase.CONFIRM):
        folder = run.begun.folder
        number = run.id.replicate // config.confirm.replicates if len(splits) > 1 else 0
        if other is not None and run.id not in history.transfers:
            yield (
                run,
                PostHocTask(
                    "transfer",
                    folder,
                    str(other.folder),
                    fields=list(range(len(other.fields))),
                    levels=[],
                    eval_split=other.layout.title,
                    **shared,
                ),
            )
        if is_stitched(config, run.hyperparameters) and run.id not in history.stitchings:
            yield (
                run,
                PostHocTask(
                    "stitching",
                    folder,
                    str(store.folder),
                    fields=splits[number].test,
                    levels=shown_level_indices(store),
                    eval_split="test",
                    **shared,
                ),
            )


def is_stitched(config: StudyConfig, hyperparameters: Hyperparameters) -> bool:
    """Return whether it is measured what stitching costs a confirmed network: if it sees patches,
    and fields are held out at every level.
    """
    image_size = int(hyperparameters["image_size"])
    patched = int(hyperparameters.get("patch_size", image_size)) < image_size
    return patched and config.dataset.split == "by_well"


def shown_level_indices(store: Store) -> list[int]:
    """Return where the levels stand that a table without room for all shows: the data set's, or the
    first, a middle and the last one.
    """
    defocused = store.defocused_indices
    shown = [store.levels.index(one) for one in store.layout.shown_levels if one in store.levels]
    return shown or sorted({defocused[0], defocused[len(defocused) // 2], defocused[-1]})
