"""What the cluster is asked besides training: networks about another data set and stitching, and
how long a step takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray

from study.config import ResourcesConfig, StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError
from study.record.ledger import Ledger, read_events
from study.trial.task import PostHocTask, TrialTask
from study.tune.callbacks import Log
from study.tune.tasks import node_values

TIMED_ROUNDS = 3  # the fastest counts
Answer = dict[str, Any]
Question = tuple[dict[str, Any], PostHocTask]  # the confirmed run's key, and what is asked


def evaluate_post_hoc(
    config: StudyConfig, store: Store, split: Split, other: Store | None, ledger: Ledger, log: Log
) -> list[str]:
    """Ask every confirmed network what the ledger has no answer to yet; return what could not be
    answered, in words.
    """
    questions = list(_questions(config, store, split, other))
    if not questions:
        return []
    log(
        f"examine: {len(questions)} questions to the confirmed networks"
        f" ({', '.join(sorted({task.question for _, task in questions}))})"
    )
    problems = []
    answers = answer_all(config.resources, _answer_question, [task for _, task in questions])
    for done, (index, answer) in enumerate(answers, start=1):
        run, task = questions[index]
        if isinstance(answer, str):
            problems.append(f"{task.question} of {run['label']}, seed {run['replicate']}: {answer}")
            continue
        ledger.append(
            task.question,
            trial=run["trial"],
            replicate=run["replicate"],
            label=run["label"],
            **answer,
        )
        log(
            f"examine {done}/{len(questions)} | {task.question} of {run['label']}, seed"
            f" {run['replicate']}"
        )
    return problems


def time_all(
    config: StudyConfig,
    tasks: Mapping[int, TrialTask],
    labels: Mapping[int, str],
    ledger: Ledger,
    log: Log,
) -> None:
    """Measure a training step of each trial, alone on the cluster, unless the ledger has it.

    Raises
    ------
    StudyError
        If one cannot be measured.
    """
    timed = {event["trial"] for event in read_events(config.folder) if event["event"] == "timing"}
    left = [trial for trial in tasks if trial not in timed]
    fastest: dict[int, Answer] = {}
    # one after another, round after round: whatever else the machine does falls on all alike
    for trial in left * TIMED_ROUNDS:
        [(_, answer)] = answer_all(config.resources, _time, [tasks[trial]])
        if isinstance(answer, str):
            raise StudyError(f"a training step of {labels[trial]} could not be timed: {answer}")
        if trial not in fastest or answer["seconds_per_step"] < fastest[trial]["seconds_per_step"]:
            fastest[trial] = answer
    for trial, answer in fastest.items():
        ledger.append("timing", trial=trial, label=labels[trial], **answer)
        log(
            f"timing | {labels[trial]}: {answer['seconds_per_step']:.3f} s a step,"
            f" {answer['steps_per_epoch']} steps an epoch"
        )


def answer_all(
    resources: ResourcesConfig, function: Callable[[Any], Answer], tasks: Sequence[Any]
) -> Iterator[tuple[int, Answer | str]]:
    """Call a function with each task on the cluster, each with a trial's resources; yield index and
    answer, or why there is none.
    """
    ask = ray.remote(
        num_cpus=resources.cpus_per_trial,
        num_gpus=resources.gpus_per_trial,
        max_retries=resources.max_retries,
    )(function)
    waiting = {ask.remote(task): index for index, task in enumerate(tasks)}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        index = waiting.pop(ready)
        try:
            yield index, ray.get(ready)
        except ray.exceptions.RayError as error:
            yield index, str(error).strip().splitlines()[-1][:300]


def _questions(
    config: StudyConfig, store: Store, split: Split, other: Store | None
) -> list[Question]:
    events = read_events(config.folder)
    answered = {
        (event["event"], event["trial"], event["replicate"])
        for event in events
        if event["event"] in ("transfer", "stitching")
    }
    finished = {
        (e["trial"], e["replicate"])
        for e in events
        if e["event"] == "score" and e["phase"] == "confirm"
    }
    shared: dict[str, Any] = {
        "evaluation_size": config.evaluation.resolution,
        "inference": config.evaluation.inference,
        "threads": config.resources.cpus_per_trial,
        **node_values(config),
    }
    defocused = store.defocused_indices
    shown = [
        store.levels.index(level) for level in store.layout.shown_levels if level in store.levels
    ]
    shown = shown or sorted({defocused[0], defocused[len(defocused) // 2], defocused[-1]})
    questions: list[Question] = []
    for run in events:
        if (
            run["event"] != "trial"
            or run["phase"] != "confirm"
            or (run["trial"], run["replicate"]) not in finished
        ):
            continue
        hyperparameters, folder = run["hyperparameters"], run["folder"]
        if other is not None and ("transfer", run["trial"], run["replicate"]) not in answered:
            every = list(range(len(other.fields)))
            task = PostHocTask(
                "transfer",
                folder,
                str(other.folder),
                every,
                [],
                eval_split=other.layout.title,
                **shared,
            )
            questions.append((run, task))
        if (
            config.dataset.split == "within_levels"
        ):  # no field is held out at all of the levels to measure
            continue
        patched = (
            hyperparameters.get("patch_size", hyperparameters["image_size"])
            < hyperparameters["image_size"]
        )
        if patched and ("stitching", run["trial"], run["replicate"]) not in answered:
            questions.append(
                (
                    run,
                    PostHocTask(
                        "stitching",
                        folder,
                        str(store.folder),
                        split.test,
                        shown,
                        eval_split="test",
                        **shared,
                    ),
                )
            )
    return questions


def _time(task: TrialTask) -> dict[str, Any]:
    from study.trial.timing import time_steps

    return time_steps(task)


def _answer_question(task: PostHocTask) -> dict[str, Any]:
    from study.trial.post_hoc_scores import (
        answer_question,  # here, not above: the driver needs no TensorFlow
    )

    return answer_question(task)
