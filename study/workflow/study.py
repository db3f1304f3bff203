"""A configuration -> a study: prepare the images, search on validation, confirm on the test set,
record everything.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.schedulers import TrialScheduler

from search_spaces.baselines import WHOLE_IMAGE, baselines
from study.config import StudyConfig, derive_seed
from study.data.splits import Split, split_by_well
from study.data.store import Store
from study.errors import StudyError
from study.record.ledger import Ledger, read_events
from study.record.mirror import Mirror
from study.record.mlflow_runs import Conclude, DrawFigures
from study.record.outcome import Outcome
from study.trial.task import TrialTask
from study.tune.budget import Work
from study.tune.callbacks import LedgerCallback, Log, Progress
from study.tune.cluster import (
    check_nodes,
    connect,
    describe_places,
    node_names,
    share_gpus,
    trials_at_once,
)
from study.tune.proposals import make_searcher
from study.tune.resume import past_trials
from study.tune.scheduler import make_scheduler
from study.tune.searcher import OptunaSearcher
from study.tune.tasks import largest_baseline, sizes_of, task_template
from study.tune.trainable import Job, TrialActor
from study.workflow.confirmation import choose_candidates, confirm_jobs, find_comparator, leak_jobs
from study.workflow.post_hoc import evaluate_post_hoc, time_all
from study.workflow.preflight import (
    check_beginning,
    check_budgets,
    check_folder,
    check_images,
    check_sides,
)
from study.workflow.reference_scores import record_deconvolutions, record_references, references
from study.workflow.setup import (
    describe,
    describe_environment,
    describe_images,
    prepare_store,
    prepare_transfer,
    tracking_uri,
    write_config,
)

MARKS = {
    "residual_unet": 9001,
    "earlier": 9002,
}  # trial numbers of configurations from outside the search
Curves = Callable[[str], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class StudyResult:
    """What a study left.

    Parameters
    ----------
    folder : its ledger, models and figures.
    problems : why it cannot be called complete; empty if it can.
    unmirrored : events that MLflow has not got yet.
    mirror_failure : why, if it is known.
    experiment_id : MLflow's number of the experiment; None without a mirror.
    outcome : how it came out, if the mirror got so far.
    record_seconds : what the ledger took of the driver's time, the mirror of the processor's, and
        how long was waited for it at the end.
    """

    folder: Path
    problems: list[str]
    unmirrored: int
    mirror_failure: str
    experiment_id: str | None
    outcome: Outcome | None
    record_seconds: tuple[float, float, float]


@dataclass(frozen=True)
class _Run:
    """What every part of a running study needs."""

    config: StudyConfig
    store: Store
    split: Split
    ledger: Ledger
    log: Log

    def events(self) -> list[dict[str, Any]]:
        return read_events(self.config.folder)


def run_study(
    config: StudyConfig,
    *,
    log: Log,
    curves: Curves = lambda kind: [],
    draw: DrawFigures | None = None,
    conclude: Conclude | None = None,
    resume: bool = False,
) -> StudyResult:
    """Run a whole study, or what is left of one.

    Parameters
    ----------
    config : StudyConfig
        A sound configuration, see `study.command_line.parse`.
    log : callable
        Prints a line of progress.
    curves : callable, optional
        Kind of data set -> curves to be recorded beside the trials, such as the paper's: events of
        the kind `reference`.
    draw, conclude : callable, optional
        Draws the figures that MLflow holds beside a trial; says how the study came out, see
        `study.record.mlflow_runs`.
    resume : bool
        Go on with the study of this name: what its ledger holds is not done again.

    Raises
    ------
    StudyError
        If it cannot start; nothing has been trained then.
    """
    check_folder(config, resume=resume)
    mirror = Mirror(
        config.folder,
        uri=tracking_uri(config),
        experiment=config.record.experiment,
        draw=draw,
        conclude=conclude,
    )
    mirror.check()
    store = prepare_store(config, log)
    other = prepare_transfer(config, log)
    split = split_by_well(
        store.wells,
        test=config.dataset.test,
        validation=config.dataset.validation,
        seed=derive_seed(config.seed, "split"),
    )
    check_sides(store, split, config)
    if resume:
        check_images(read_events(config.folder), store, other)
        check_budgets(read_events(config.folder), config)
    else:
        check_beginning(config, store)
    try:
        connect(log)
        config = share_gpus(config, largest_baseline(config, store, split), log)
        log(describe_places(config.resources))
        check_nodes(config, store, log)
        with Ledger(config.folder) as ledger:
            run = _Run(config, store, split, ledger, log)
            number = sum(event["event"] == "resumed" for event in run.events()) + 1 if resume else 0
            write_config(config)  # first: a study that has a ledger can be resumed
            if resume:
                ledger.append(
                    "resumed",
                    run=number,
                    config=config.to_dict(),
                    environment=describe_environment(),
                )
            else:
                ledger.append("study", **describe(config, store, split))
            mirror.start()
            for reference in curves(config.dataset.kind):
                ledger.append("reference", **reference)
            if config.search.space != "none":
                record_references(config, store, ledger, split.validation, "validation")
                _search(run)
            _confirm(run)
            if other is not None:
                _begin_transfer(run, other, curves(other.layout.kind))
            unanswered = evaluate_post_hoc(config, store, split, other, ledger, log)
            if config.confirm.leak:
                _leak(run)
            problems = [*find_problems(run.events()), *unanswered]
            status = "failed" if problems else "finished"
            ledger.append(
                "study_end",
                run=number,
                status=status,
                problems=problems,
                record_seconds=ledger.seconds,
            )
    finally:
        ray.shutdown()
        left = mirror.close()
    return StudyResult(
        config.folder,
        problems,
        left,
        mirror.failure,
        mirror.experiment_id,
        mirror.outcome,
        (ledger.seconds, mirror.seconds, mirror.waited_s),
    )


def find_problems(events: list[dict[str, Any]]) -> list[str]:
    """Return why a study is not complete: a baseline that did not run to its end, or nothing else
    that did.
    """
    trials = {
        (event["phase"], event["trial"]): event for event in events if event["event"] == "trial"
    }
    ends = [event for event in events if event["event"] == "trial_end"]
    problems = [
        f"{trials[event['phase'], event['trial']]['label']} did not run to its end"
        f" ({event['phase']}, seed {event['replicate']}): {event['reason']}"
        for event in ends
        if event["status"] != "finished"
        and (trials[event["phase"], event["trial"]]["baseline"] or event["phase"] == "confirm")
    ]
    for phase in sorted({phase for phase, _ in trials}):
        finished = [
            trials[phase, event["trial"]]["baseline"]
            for event in ends
            if event["phase"] == phase and event["status"] == "finished"
        ]
        if phase == "search" and all(finished):
            problems.append("no searched trial ran to its end")
    return problems or ([] if ends else ["no trial ran"])


def _search(run: _Run) -> None:
    config = run.config
    configurations = baselines(sizes_of(config))
    past = past_trials(run.events())
    total = len(configurations) + config.search.trials
    ended = sum(bool(trial.status) for trial in past.values())
    if ended >= total:
        return

    searcher = make_searcher(config, run.store, run.split, folder=config.folder, past=past)
    run.log(
        f"search: {config.search.trials} trials in {config.search.space!r} and"
        f" {len(configurations)} baselines, {config.training.epochs} epochs each"
        + (f"; {ended} are done" if ended else "")
    )
    _fit(
        run,
        phase="search",
        ended=ended,
        total=total,
        searcher=searcher,
        scheduler=make_scheduler(config, past),
    )


def _confirm(run: _Run) -> None:
    """Train the best and the baselines on all but the test set, and score them there."""
    config, events = run.config, run.events()
    if config.search.space == "none":
        named = baselines(sizes_of(config))
        configurations = {
            number: {"label": label, "baseline": True, "hyperparameters": hyperparameters}
            for number, (label, hyperparameters) in enumerate(named.items())
        }
    else:
        trials = {
            event["trial"]: event
            for event in events
            if event["event"] == "trial" and event["phase"] == "search"
        }
        configurations = {
            trial: trials[trial]
            for trial in choose_candidates(
                events, best=config.confirm.best, costs=config.search.objectives[1:]
            )
        }
    for name in config.confirm.comparators:
        label, hyperparameters = find_comparator(config, name)
        configurations[MARKS[name]] = {
            "label": label,
            "baseline": False,
            "hyperparameters": hyperparameters,
        }
    template = task_template(config, run.store)
    jobs = confirm_jobs(config, configurations, template, run.split, run.store, epochs={})
    if config.confirm.seconds is not None:
        jobs = confirm_jobs(
            config,
            configurations,
            template,
            run.split,
            run.store,
            epochs=_equal_seconds(run, jobs, config.confirm.seconds),
        )
    _judge(
        run,
        "confirm",
        jobs,
        f"{len(configurations)} configurations, {config.confirm.replicates} seeds each",
    )


def _equal_seconds(run: _Run, jobs: list[Job], seconds: float) -> dict[int, int]:
    """Return how many whole epochs of each trial come closest to a budget in seconds, by a measured
    step.
    """
    first = {job.trial: job for job in jobs if job.replicate == 0}
    tasks = {trial: TrialTask(**job.task) for trial, job in first.items()}
    time_all(
        run.config, tasks, {trial: job.label for trial, job in first.items()}, run.ledger, run.log
    )
    timed = {event["trial"]: event for event in run.events() if event["event"] == "timing"}
    return {
        trial: max(
            1, round(seconds / (timed[trial]["seconds_per_step"] * timed[trial]["steps_per_epoch"]))
        )
        for trial in first
    }


def _leak(run: _Run) -> None:
    """Train the confirmed whole-image baseline again under the paper's split within levels, to
    measure what that leaks.
    """
    confirmed = [
        event for event in run.events() if event["event"] == "trial" and event["phase"] == "confirm"
    ]
    whole = {event["trial"]: event for event in confirmed if event["label"] == WHOLE_IMAGE}
    epochs = {trial: event["epochs"] for trial, event in whole.items()}
    jobs = leak_jobs(
        run.config, whole, task_template(run.config, run.store), run.split, run.store, epochs=epochs
    )
    _judge(
        run,
        "leak",
        jobs,
        f"{WHOLE_IMAGE} with the paper's split within levels, {run.config.confirm.replicates}"
        " seeds",
    )


def _judge(run: _Run, phase: str, jobs: list[Job], text: str) -> None:
    """Open the test set, once for all jobs of a phase that are not done, and run them."""
    if not jobs:
        return
    events = run.events()
    done = {
        (event["trial"], event["replicate"])
        for event in events
        if event["event"] == "trial_end" and event["phase"] == phase
    }
    left = [job for job in jobs if (job.trial, job.replicate) not in done]
    if left:
        opening = sum(event["event"] == "test_opened" for event in events)
        run.ledger.append(
            "test_opened",
            opening=opening,
            phase=phase,
            candidates=sorted({job.trial for job in left}),
        )
    eval_fields, held_out = (
        jobs[0].task["eval_fields"],
        (jobs[0].task.get("held_out") if phase == "confirm" else None),
    )
    record_references(run.config, run.store, run.ledger, eval_fields, "test", held_out=held_out)
    record_deconvolutions(run.config, run.store, run.ledger, eval_fields, run.log)
    if not left:
        return
    run.log(
        f"{phase}: {text}, on {len(eval_fields)} test fields"
        + (f"; {len(done)} are done" if done else "")
    )
    _fit(
        run,
        phase=phase,
        ended=len(done),
        total=len(done) + len(left),
        configs=[job.to_config()["job"] for job in left],
    )


def _begin_transfer(run: _Run, other: Store, curves: Sequence[dict[str, Any]]) -> None:
    every = list(range(len(other.fields)))
    run.ledger.append("transfer_set", **describe_images(other, {"test": every}))
    held = {event["reference"] for event in run.events() if event["event"] == "transfer_reference"}
    for reference in curves:
        run.ledger.append("transfer_reference", **reference)
    for reference in references(run.config, other, every, "test", skip=held):
        run.ledger.append("transfer_reference", **reference)


def _fit(
    run: _Run,
    *,
    phase: str,
    ended: int,
    total: int,
    searcher: OptunaSearcher | None = None,
    scheduler: TrialScheduler | None = None,
    configs: list[dict[str, Any]] | None = None,
) -> None:
    """Run jobs on the cluster, those that a searcher proposes or a fixed list; `ended` of `total`
    have ended before.
    """
    config = run.config
    resources = config.resources
    progress = Progress(
        run.log,
        phase=phase,
        jobs=total - ended,
        work=Work(config, run.store),
        known=[Job(**job) for job in configs or []],
    )
    tuner = tune.Tuner(
        tune.with_resources(
            TrialActor, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        ),
        param_space=None if configs is None else {"job": tune.grid_search(configs)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=1 if searcher is None else total - ended,
            max_concurrent_trials=trials_at_once(resources),
            reuse_actors=True,
            trial_name_creator=lambda trial: (
                f"{phase}-{Job.of(trial.config).trial:04d}-{Job.of(trial.config).replicate}"
            ),
            trial_dirname_creator=lambda trial: f"{phase}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=phase,
            storage_path=str(config.folder / "tune"),
            callbacks=[
                LedgerCallback(
                    run.ledger,
                    progress,
                    node_names(),
                    searcher.explain if searcher else lambda trial, reason: None,
                )
            ],
            failure_config=tune.FailureConfig(max_failures=resources.max_retries),
            verbose=0,
        ),
    )
    try:
        with _interruptible():
            tuner.fit()
    except TuneError:
        if run.ledger.broken:  # Tune hides what a callback raised behind its traceback
            raise StudyError(run.ledger.broken) from None
        raise
    finally:
        if searcher is not None:  # what still runs, if this ends early
            with contextlib.suppress(optuna.exceptions.StorageInternalError):
                searcher.cancel()
    if (
        searcher is not None and searcher.exhausted
    ):  # a grid that is smaller than the number of trials asked for
        total = searcher.proposed
    ended = sum(event["event"] == "trial_end" and event["phase"] == phase for event in run.events())
    if ended < total:
        raise KeyboardInterrupt(
            f"{phase} was interrupted after {ended} of {total} trials"
        )  # Tune itself returns as if all were done


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Take away the handler of Ctrl-C that Tune leaves behind: the next one would be swallowed by a
    run that has ended.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
