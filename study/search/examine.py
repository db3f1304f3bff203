"""Questions to the confirmed networks besides their score, asked on the cluster: another data set, and what stitching does."""

from __future__ import annotations

from typing import Any

import ray

from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.record.ledger import Ledger, read_events
from study.search.recording import Say
from study.trial.task import Examination

Question = tuple[dict[str, Any], Examination]  # the confirmed run's key, and what is asked


def examine_all(config: StudyConfig, store: Store, split: Split, other: Store | None, ledger: Ledger, say: Say) -> list[str]:
    """Ask every confirmed network what the ledger has no answer to yet; return what could not be answered, in words."""
    questions = list(_questions(config, store, split, other))
    if not questions:
        return []
    say(f"examine: {len(questions)} questions to the confirmed networks ({', '.join(sorted({task.question for _, task in questions}))})")
    resources = config.resources
    ask = ray.remote(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_retries=resources.max_retries)(_examine)
    waiting = {ask.remote(task): (run, task) for run, task in questions}
    problems = []
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        run, task = waiting.pop(ready)
        try:
            answer = ray.get(ready)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1][:300]
            problems.append(f"{task.question} of {run['label']}, seed {run['replicate']}: {reason}")
            continue
        ledger.append(task.question, trial=run["trial"], replicate=run["replicate"], label=run["label"], **answer)
        say(f"examine {len(questions) - len(waiting)}/{len(questions)} | {task.question} of {run['label']}, seed {run['replicate']}")
    return problems


def _questions(config: StudyConfig, store: Store, split: Split, other: Store | None) -> list[Question]:
    events = read_events(config.folder)
    answered = {(event["event"], event["trial"], event["replicate"]) for event in events if event["event"] in ("transfer", "stitching")}
    finished = {(e["trial"], e["replicate"]) for e in events if e["event"] == "score" and e["phase"] == "confirm"}
    shared: dict[str, Any] = {
        "common_size": config.sizes.common,
        "inference": config.evaluation.inference,
        "threads": config.resources.cpus_per_trial,
    }
    shown = [store.levels.index(level) for level in store.layout.shown_levels if level in store.levels]
    questions: list[Question] = []
    for run in events:
        if run["event"] != "trial" or run["phase"] != "confirm" or (run["trial"], run["replicate"]) not in finished:
            continue
        point, folder = run["hyperparameters"], run["folder"]
        if other is not None and ("transfer", run["trial"], run["replicate"]) not in answered:
            every = list(range(len(other.fields)))
            task = Examination("transfer", folder, str(other.folder), every, [], judged_on=other.layout.title, **shared)
            questions.append((run, task))
        patched = point.get("patch_size", point["image_size"]) < point["image_size"]
        if patched and shown and ("stitching", run["trial"], run["replicate"]) not in answered:
            questions.append((run, Examination("stitching", folder, str(store.folder), split.test, shown, judged_on="test", **shared)))
    return questions


def _examine(task: Examination) -> dict[str, Any]:
    from study.trial.examination import examine  # here, not above: the driver needs no TensorFlow

    return examine(task)
