"""A configuration -> a study: prepare the images, search on validation, confirm on the test set, record everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from search_spaces import SPACES
from search_spaces.baselines import baselines
from study.config import StudyConfig, derive_seed
from study.data.splits import Split, split_by_well
from study.data.store import Grid, Store
from study.errors import StudyError
from study.record.ledger import CEILING, FILE_NAME, Ledger, read_events
from study.record.mirror import DrawFigures, Mirror
from study.search.confirm import choose_candidates, confirm_jobs
from study.search.jobs import Job, TrialActor
from study.search.recording import LedgerCallback, Progress, Say
from study.search.scheduler import make_scheduler
from study.search.searcher import OptunaSearcher
from study.search.setting import connect, describe, prepare_store, tracking_uri, trials_at_once, write_config
from study.trial.classical import METHODS
from study.trial.evaluation import score_ceiling, score_classical


@dataclass(frozen=True)
class StudyResult:
    """What a study left.

    Parameters
    ----------
    folder : its ledger, models and figures.
    problems : why it can not be called complete; empty if it can.
    unmirrored : events that MLflow has not got yet.
    experiment_id : MLflow's number of the experiment; None without a mirror.
    """

    folder: Path
    problems: list[str]
    unmirrored: int
    experiment_id: str | None


def run_study(
    config: StudyConfig,
    *,
    say: Say,
    references: Sequence[dict[str, Any]] = (),
    draw: DrawFigures | None = None,
) -> StudyResult:
    """Run a whole study.

    Parameters
    ----------
    config : StudyConfig
        A sound configuration, see `study.command_line.parse`.
    say : callable
        Prints a line of progress.
    references : sequence of dict
        Curves to be recorded beside the trials, such as the paper's: events of the kind `reference`.
    draw : callable, optional
        Draws the figures that MLflow holds beside a trial.

    Raises
    ------
    StudyError
        If it can not start; nothing has been trained then.
    """
    if (config.folder / FILE_NAME).exists():
        raise StudyError(f"there is a study in {config.folder} already: choose another --name, or remove that folder to run it anew")
    mirror = Mirror(config.folder, uri=tracking_uri(config), experiment=config.record.experiment, draw=draw)
    mirror.check()
    store = prepare_store(config, say)
    split = split_by_well(
        store.wells, test=config.dataset.test, validation=config.dataset.validation, seed=derive_seed(config.seed, "split")
    )
    _check_sides(store, split, config)
    try:
        connect(say)
        trials_at_once(config.resources)
        with Ledger(config.folder) as ledger:
            ledger.append("study", **describe(config, store, split))
            write_config(config)
            mirror.start()
            for reference in (*references, *(_references(config, store, split.validation, "validation") if split.validation else [])):
                ledger.append("reference", **reference)
            if config.search.space != "none":
                _search(config, store, split, ledger, say)
            _confirm(config, store, split, ledger, say)
            problems = find_problems(read_events(config.folder))
            ledger.append("study_end", status="failed" if problems else "finished", problems=problems, record_seconds=ledger.seconds)
    finally:
        ray.shutdown()
        left = mirror.close()
    return StudyResult(config.folder, problems, left, mirror.experiment_id)


def find_problems(events: list[dict[str, Any]]) -> list[str]:
    """Return why a study is not complete: a baseline that did not run to its end, or nothing else that did."""
    trials = {(event["phase"], event["trial"]): event for event in events if event["event"] == "trial"}
    ends = [event for event in events if event["event"] == "trial_end"]
    problems = [
        f"{trials[event['phase'], event['trial']]['label']} did not run to its end ({event['phase']}, seed {event['replicate']}): {event['reason']}"
        for event in ends
        if event["status"] != "finished" and (trials[event["phase"], event["trial"]]["baseline"] or event["phase"] == "confirm")
    ]
    for phase in sorted({phase for phase, _ in trials}):
        finished = [
            trials[phase, event["trial"]]["baseline"] for event in ends if event["phase"] == phase and event["status"] == "finished"
        ]
        if phase == "search" and all(finished):
            problems.append("no searched trial ran to its end")
    return problems or ([] if ends else ["no trial ran"])


def _search(config: StudyConfig, store: Store, split: Split, ledger: Ledger, say: Say) -> None:
    sizes = _sizes(config)
    points = baselines(**sizes)
    template = _task_template(config, store)

    def make_job(number: int, baseline: str | None, point: dict[str, Any]) -> Job:
        task = template | {
            "hyperparameters": point,
            "train": split.train,
            "judge": split.validation,
            "judged_on": "validation",
            "rung_images": config.search.rung_images,
            "seed": derive_seed(config.seed, "trial", number),
            "folder": str(config.folder / "trials" / f"{number:04d}"),
        }
        return Job("search", number, 0, baseline or f"trial {number:04d}", baseline is not None, task)

    searcher = OptunaSearcher(
        lambda hp: SPACES[config.search.space](hp, **sizes),
        baselines=points, make_job=make_job, folder=config.folder, sampler=config.search.searcher,
        seed=config.seed, trials=config.search.trials,
    )  # fmt: skip
    total = len(points) + config.search.trials
    say(
        f"search: {config.search.trials} trials in {config.search.space!r} and {len(points)} baselines, {config.training.epochs} epochs each"
    )
    _fit(config, ledger, say, phase="search", jobs=total, searcher=searcher, scheduler=make_scheduler(config))


def _confirm(config: StudyConfig, store: Store, split: Split, ledger: Ledger, say: Say) -> None:
    events = read_events(config.folder)
    if config.search.space == "none":
        named = baselines(**_sizes(config))
        points = {
            number: {"label": label, "baseline": True, "hyperparameters": point} for number, (label, point) in enumerate(named.items())
        }
    else:
        trials = {event["trial"]: event for event in events if event["event"] == "trial"}
        points = {trial: trials[trial] for trial in choose_candidates(events, best=config.confirm.best)}
    opening = sum(event["event"] == "test_opened" for event in events)
    ledger.append("test_opened", opening=opening, candidates=sorted(points), replicates=config.confirm.replicates)
    for reference in _references(config, store, split.test, "test"):
        ledger.append("reference", **reference)
    jobs = confirm_jobs(config, points, _task_template(config, store), split)
    say(f"confirm: {len(points)} configurations, {config.confirm.replicates} seeds each, on {len(split.test)} test fields")
    _fit(config, ledger, say, phase="confirm", jobs=len(jobs), configs=[job.to_config()["job"] for job in jobs])


def _fit(
    config: StudyConfig,
    ledger: Ledger,
    say: Say,
    *,
    phase: str,
    jobs: int,
    searcher: OptunaSearcher | None = None,
    scheduler: TrialScheduler | None = None,
    configs: list[dict[str, Any]] | None = None,
) -> None:
    """Run jobs on the cluster: those that a searcher proposes, or a fixed list."""
    resources = config.resources
    progress = Progress(say, phase=phase, jobs=jobs, epochs=config.training.epochs)
    tuner = tune.Tuner(
        tune.with_resources(TrialActor, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}),
        param_space=None if configs is None else {"job": tune.grid_search(configs)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=1 if searcher is None else jobs,
            max_concurrent_trials=trials_at_once(resources),
            reuse_actors=True,
            trial_name_creator=lambda trial: f"{phase}-{Job.of(trial.config).trial:04d}-{Job.of(trial.config).replicate}",
            trial_dirname_creator=lambda trial: f"{phase}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=phase,
            storage_path=str(config.folder / "tune"),
            callbacks=[LedgerCallback(ledger, progress)],
            failure_config=tune.FailureConfig(max_failures=resources.max_retries),
            verbose=0,
        ),
    )
    tuner.fit()
    ended = sum(event["event"] == "trial_end" and event["phase"] == phase for event in read_events(config.folder))
    if ended < jobs:
        raise KeyboardInterrupt(f"{phase} was interrupted after {ended} of {jobs} trials")  # Tune itself returns as if all were done


def _sizes(config: StudyConfig) -> dict[str, Any]:
    return {"whole_sizes": config.sizes.whole, "split_size": config.sizes.split, "patch_sizes": config.sizes.patches}


def _task_template(config: StudyConfig, store: Store) -> dict[str, Any]:
    return {
        "store": str(store.folder),
        "resize": config.dataset.resize,
        "common_size": config.sizes.common,
        "epochs": config.training.epochs,
        "batch_size": config.training.batch_size,
        "patches_per_image": config.training.patches_per_image,
        "inference": config.evaluation.inference,
        "rung_seed": derive_seed(config.seed, "rung"),
        "threads": config.resources.cpus_per_trial,
    }


def _references(config: StudyConfig, store: Store, fields: Sequence[int], judged_on: str) -> list[dict[str, Any]]:
    """Score what learns nothing, and the ceiling of each image size, on one side of the split."""
    common = Grid(config.sizes.common, "antialiased")
    scores = {
        name: score_classical(
            method, store, grid=Grid(config.sizes.whole[0], config.dataset.resize), common=common, fields=fields, judged_on=judged_on
        )
        for name, method in METHODS.items()
    }
    for size in config.image_sizes:
        grid = Grid(size, config.dataset.resize)
        scores[f"{CEILING} {size} px"] = score_ceiling(store, grid=grid, common=common, fields=fields, judged_on=judged_on)
    return [{"reference": f"{name} ({judged_on})", **score.to_dict()} for name, score in scores.items()]


def _check_sides(store: Store, split: Split, config: StudyConfig) -> None:
    if config.search.space != "none" and not split.validation:
        raise StudyError("the validation side has no field: use more wells or a larger dataset.validation")
    if not store.defocused_indices:
        raise StudyError(f"the images hold no level but the in-focus one, {store.layout.in_focus_level}: nothing is there to restore")
