"""A study from its configuration to its end: the images, the search on validation, the confirmation
on the test set, what is asked afterwards. `run_study` names every stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.record.events import (
    ReferenceScored,
    StudyEnded,
    StudyResumed,
    TestOpened,
    TransferReferenceScored,
    TransferSet,
)
from study.record.history import History
from study.record.identities import Phase
from study.record.ledger import Ledger
from study.record.mirror import Mirror
from study.record.mlflow_runs import Conclude, DrawFigures
from study.record.outcome import Outcome
from study.trial.mean_scale import TrainingImages
from study.tune.callbacks import Log
from study.tune.cluster import check_nodes, connect, describe_places
from study.tune.gpu_shares import share_gpus
from study.tune.proposals import make_searcher
from study.tune.scheduler import make_scheduler
from study.tune.tasks import Configuration, baseline_configurations, largest_baseline
from study.tune.trainable import KERAS, Job, TrialCode
from study.tune.trials import run_trials
from study.workflow.confirmation import (
    Budget,
    budgets_in_steps,
    configurations_to_confirm,
    confirm_jobs,
    leak_configurations,
    leak_jobs,
    record_timings,
)
from study.workflow.deconvolutions import record_deconvolutions
from study.workflow.post_hoc import evaluate_post_hoc
from study.workflow.preflight import check_folder, check_new, check_resumed, check_sides
from study.workflow.reference_scores import record_references, score_references
from study.workflow.setup import (
    describe_environment,
    describe_images,
    describe_store,
    describe_study,
    prepare_store,
    prepare_transfer,
    tracking_uri,
    write_config,
)
from study.workflow.sides import Sides, divide_fields, split_by_name
from study.workflow.stages import Stage, stages_of

Curves = Callable[[str], Sequence[ReferenceScored]]


@dataclass(frozen=True)
class StudyResult:
    """What a study left.

    Parameters
    ----------
    folder : Path
        Its ledger, models and figures.
    history : History
        What its ledger holds.
    problems : list of str
        Why it cannot be called complete; empty if it can.
    unmirrored : int
        Events that MLflow has not got yet.
    mirror_failure : str
        Why, if it is known.
    experiment_id : str, optional
        MLflow's number of the experiment; None without a mirror.
    outcome : Outcome, optional
        How it came out, if `conclude` was given.
    record_seconds : tuple of float
        What the ledger took of the driver's time, the mirror of the processor's, and how long was
        waited for it at the end.
    """

    folder: Path
    history: History
    problems: list[str]
    unmirrored: int
    mirror_failure: str
    experiment_id: str | None
    outcome: Outcome | None
    record_seconds: tuple[float, float, float]


@dataclass(frozen=True)
class _Study:
    """What every stage of a running study needs; `other` is the data set of a transfer, and
    `unanswered` gathers what its networks could not be asked.
    """

    config: StudyConfig
    store: Store
    split: Split
    other: Store | None
    ledger: Ledger
    log: Log
    code: TrialCode
    curves: Curves
    unanswered: list[str] = field(default_factory=list)

    @property
    def history(self) -> History:
        return self.ledger.history

    def run_trials(self, phase: Phase, **how: Any) -> None:
        """Run a phase's trials, see `study.tune.trials.run_trials`."""
        run_trials(
            self.config,
            phase,
            store=self.store,
            ledger=self.ledger,
            log=self.log,
            code=self.code,
            **how,
        )


def run_study(
    config: StudyConfig,
    *,
    log: Log,
    curves: Curves = lambda kind: [],
    draw: DrawFigures | None = None,
    summarize: Conclude | None = None,
    conclude: Conclude = lambda folder, history: None,
    resume: bool = False,
    code: TrialCode = KERAS,
) -> StudyResult:
    """Run a whole study, or what is left of one.

    Parameters
    ----------
    config : StudyConfig
        A sound configuration, see `study.command_line.parse`.
    log : callable
        Prints a line of progress.
    curves : callable, optional
        Kind of data set -> curves to be recorded beside the trials, such as the paper's.
    draw, summarize : callable, optional
        Draws the figures that MLflow holds beside a trial; gives the outcome of earlier ends, see
        `study.record.mlflow_runs`.
    conclude : callable, optional
        Says how the study came out, in this thread, after its last event and before MLflow is
        waited for, which gets the outcome.
    resume : bool
        Resume the study of this name: what its ledger holds is not done again.
    code : TrialCode, optional
        What trains, scores and asks networks in the workers.

    Raises
    ------
    StudyError
        If it cannot start; nothing has been trained then.
    """
    learned = check_folder(config, resume=resume)
    mirror = Mirror(
        config.folder,
        uri=tracking_uri(config),
        experiment=config.record.experiment,
        draw=draw,
        conclude=summarize,
    )
    mirror.check()
    store, other = prepare_store(config, log), prepare_transfer(config, log)
    if learned is None:
        sides = divide_fields(config, store.fields, store.wells, log)
        check_new(config, store)
    else:
        check_resumed(learned, config, store, other)
        sides = Sides(split_by_name(learned.study.split, store.fields))
    split, outcome = sides.split, None
    check_sides(store, split, config)
    try:
        config = _join_cluster(config, store, split, log)
        with Ledger(config.folder) as ledger:
            study = _Study(config, store, split, other, ledger, log, code, curves)
            run = _begin(study, sides, resume=resume)
            mirror.start(run=run)
            run_stage = {
                Stage.REFERENCES: _record_references,
                Stage.SEARCH: _search,
                Stage.TIMING: _time_steps,
                Stage.CONFIRMATION: _confirm,
                Stage.POST_HOC: _evaluate_post_hoc,
                Stage.LEAK: _measure_leak,
            }
            for stage in stages_of(config):
                run_stage[stage](study)
            problems = _end(study, run)
        outcome = conclude(config.folder, ledger.history)
    finally:
        ray.shutdown()
        unmirrored = mirror.close(outcome=outcome)
    return StudyResult(
        config.folder,
        ledger.history,
        problems,
        unmirrored,
        mirror.failure,
        mirror.experiment_id,
        outcome,
        (ledger.seconds, mirror.seconds, mirror.waited_s),
    )


def _join_cluster(config: StudyConfig, store: Store, split: Split, log: Log) -> StudyConfig:
    """Join or start the cluster; return the configuration with the shares of its GPUs."""
    connect(log)
    config = share_gpus(config, largest_baseline(config, store, split), log)
    log(describe_places(config.resources))
    check_nodes(config, store, log)
    return config


def _begin(study: _Study, sides: Sides, *, resume: bool) -> int:
    """Record that the study begins or is resumed; return the number of this run of it."""
    run = len(study.history.resumptions) + 1 if resume else 0
    write_config(study.config)  # first: a study that has a ledger can be resumed
    if resume:
        environment = describe_environment()
        study.ledger.append(StudyResumed(run=run, config=study.config, environment=environment))
    else:
        study.ledger.append(describe_study(study.config, study.store, sides))
    return run


def _record_references(study: _Study) -> None:
    """Record the printed curves, and what stands beside the trials of the search."""
    for reference in study.curves(study.config.dataset.kind):
        study.ledger.append(reference)
    if Stage.SEARCH in stages_of(study.config):
        training, fields = TrainingImages(study.store, study.split.train), study.split.validation
        record_references(
            study.config, study.store, study.ledger, fields, "validation", training=training
        )


def _search(study: _Study) -> None:
    config = study.config
    baselines = baseline_configurations(config)
    total = len(baselines) + config.search.trials
    ended = len(study.history.ended_runs(Phase.SEARCH))
    if ended >= total:
        return
    searcher = make_searcher(
        config, study.store, study.split, folder=config.folder, history=study.history
    )
    study.log(
        f"search: {config.search.trials} trials in {config.search.space!r} and {len(baselines)}"
        f" baselines, {config.training.epochs} epochs each"
        + (f"; {ended} are done" if ended else "")
    )
    scheduler = make_scheduler(config, study.history.of_phase(Phase.SEARCH))
    study.run_trials(Phase.SEARCH, total=total, searcher=searcher, scheduler=scheduler)


def _time_steps(study: _Study) -> None:
    """Measure a training step of each configuration to confirm: its budget is in seconds."""
    configurations = configurations_to_confirm(study.config, study.history)
    record_timings(
        confirm_jobs(study.config, configurations, study.split, study.store, budgets={}),
        time_steps=study.code.time_steps,
        resources=study.config.resources,
        ledger=study.ledger,
        log=study.log,
    )


def _confirm(study: _Study) -> None:
    """Train the best, the baselines and the comparators on all but the test set, and score them
    there.
    """
    config = study.config
    configurations = configurations_to_confirm(config, study.history)
    budgets = budgets_in_steps(config, study.history.timings)
    jobs = confirm_jobs(config, configurations, study.split, study.store, budgets=budgets)
    text = f"{len(configurations)} configurations, {config.confirm.replicates} seeds each"
    if config.confirm.splits > 1:
        text += f" on each of {config.confirm.splits} splits"
    _score_on_test(study, Phase.CONFIRM, jobs, text)


def _measure_leak(study: _Study) -> None:
    """Train the confirmed whole-image baseline again under the paper's split within levels, to
    measure what that leaks.
    """
    config = study.config
    confirmed = {run.trial: run.begun for run in study.history.of_phase(Phase.CONFIRM)}
    configurations = leak_configurations(map(Configuration.of, confirmed.values()))
    budgets = {trial: Budget(one.epochs, one.steps) for trial, one in confirmed.items()}
    jobs = leak_jobs(config, configurations, study.split, study.store, budgets=budgets)
    seeds = config.confirm.replicates
    text = f"the whole-image baseline with the paper's split within levels, {seeds} seeds"
    _score_on_test(study, Phase.LEAK, jobs, text)


def _score_on_test(study: _Study, phase: Phase, jobs: list[Job], text: str) -> None:
    """Open the test set, once for all jobs of a phase that are not done, and run them."""
    if not jobs:
        return
    done = study.history.ended_runs(phase)
    waiting = [job for job in jobs if job.run not in done]
    if waiting:
        opening, candidates = len(study.history.openings), {job.run.trial for job in waiting}
        opened = TestOpened(opening=opening, phase=phase, candidates=sorted(candidates))
        study.ledger.append(opened)
    task = jobs[0].task
    held_out = task.held_out if phase == Phase.CONFIRM else None
    fields = sorted({field for job in jobs for field in job.task.eval_fields})
    config, store, ledger = study.config, study.store, study.ledger
    training = TrainingImages(store, task.train_fields, task.held_out)
    record_references(config, store, ledger, fields, "test", training=training, held_out=held_out)
    record_deconvolutions(
        config, store, ledger, fields, study.log, split=study.split, held_out=held_out
    )
    if not waiting:
        return
    study.log(
        f"{phase}: {text}, on {len(fields)} test fields"
        + (f"; {len(done)} are done" if done else "")
    )
    study.run_trials(phase, total=len(done) + len(waiting), jobs=waiting)


def _begin_transfer(study: _Study) -> None:
    """Record the other data set, and what stands beside the networks there."""
    other, ledger = study.other, study.ledger
    if other is None:
        return
    every = list(range(len(other.fields)))
    images = describe_images(other, {"test": every})
    ledger.append(TransferSet(store=describe_store(other), images=images))
    known = study.history.transfer_references
    for printed in study.curves(other.layout.kind):
        score = {
            name: value for name, value in vars(printed).items() if name not in ("time", "row")
        }
        ledger.append(TransferReferenceScored(**score))
    for reference, measured in score_references(
        study.config, other, every, "test", training=_confirmed_on(study), skip=known
    ):
        ledger.append(TransferReferenceScored(reference=reference, **vars(measured)))


def _confirmed_on(study: _Study) -> TrainingImages:
    """Return what the confirmed networks learned from."""
    configurations = baseline_configurations(study.config)[:1]
    (first, *_) = confirm_jobs(study.config, configurations, study.split, study.store, budgets={})
    return TrainingImages(study.store, first.task.train_fields, first.task.held_out)


def _evaluate_post_hoc(study: _Study) -> None:
    """Ask the confirmed networks what stitching costs them, and score them on the other data
    set.
    """
    _begin_transfer(study)
    unanswered = evaluate_post_hoc(
        study.config,
        study.store,
        study.split,
        study.other,
        answer_question=study.code.answer_question,
        ledger=study.ledger,
        log=study.log,
    )
    study.unanswered.extend(unanswered)


def _end(study: _Study, run: int) -> list[str]:
    """Record the end of the study; return why it is not complete."""
    problems = [*study.history.problems(), *study.unanswered]
    ended = StudyEnded(
        run=run,
        status="failed" if problems else "finished",
        problems=problems,
        record_seconds=study.ledger.seconds,
    )
    study.ledger.append(ended)
    return problems
