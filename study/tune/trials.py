"""Trials run by Ray Tune: those that a searcher proposes, or a fixed list of jobs."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence

import optuna
from ray import tune
from ray.tune import TuneError
from ray.tune.schedulers import TrialScheduler

from study.config import StudyConfig
from study.data.store import Store
from study.errors import StudyError
from study.record.identities import Phase
from study.record.ledger import Ledger
from study.tune.budget import Work
from study.tune.callbacks import LedgerCallback, Log, Progress
from study.tune.cluster import node_names, trials_at_once
from study.tune.searcher import OptunaSearcher
from study.tune.trainable import Job, TrialActor, TrialCode


def run_trials(
    config: StudyConfig,
    phase: Phase,
    *,
    total: int,
    store: Store,
    ledger: Ledger,
    log: Log,
    code: TrialCode,
    searcher: OptunaSearcher | None = None,
    scheduler: TrialScheduler | None = None,
    jobs: Sequence[Job] | None = None,
) -> None:
    """Run jobs on the cluster until `total` of the phase have ended.

    Parameters
    ----------
    config, store, ledger : StudyConfig, Store, Ledger
        The study's.
    phase : Phase
        What the jobs belong to.
    total : int
        How many runs the phase has, those that have ended before among them.
    log : callable
        Prints a line of progress.
    code : TrialCode
        What runs in the workers.
    searcher, scheduler : optional
        Propose jobs, and stop them early.
    jobs : sequence of Job, optional
        A fixed list instead.

    Raises
    ------
    StudyError
        If the ledger cannot be written any more.
    KeyboardInterrupt
        If the phase was interrupted.
    """
    remaining = total - len(ledger.history.ended_runs(phase))
    progress = Progress(
        log, phase=phase, jobs=remaining, work=Work(config, store), known=jobs or []
    )
    explain = searcher.explain if searcher else lambda trial, reason: None
    resources, plain = config.resources, [job.to_config()["job"] for job in jobs or []]
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(TrialActor, code=code),
            {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
        ),
        param_space=None if jobs is None else {"job": tune.grid_search(plain)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=remaining if searcher is not None else 1,
            max_concurrent_trials=trials_at_once(resources),
            reuse_actors=True,
            trial_name_creator=lambda trial: Job.of(trial.config).run.file_name,
            trial_dirname_creator=lambda trial: f"{phase}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=str(phase),
            storage_path=str(config.folder / "tune"),
            callbacks=[LedgerCallback(ledger, progress, node_names(), explain)],
            failure_config=tune.FailureConfig(max_failures=resources.max_retries),
            verbose=0,
        ),
    )
    _fit(tuner, ledger, searcher)
    if searcher is not None and searcher.exhausted:
        total = searcher.proposed  # a grid smaller than the number of trials asked for
    if (ended := len(ledger.history.ended_runs(phase))) < total:
        # Tune itself returns as if all were done
        raise KeyboardInterrupt(f"{phase} was interrupted after {ended} of {total} trials")


def _fit(tuner: tune.Tuner, ledger: Ledger, searcher: OptunaSearcher | None) -> None:
    try:
        with _interruptible():
            tuner.fit()
    except TuneError:
        if ledger.broken:  # Tune hides what a callback raised behind its traceback
            raise StudyError(ledger.broken) from None
        raise
    finally:
        if searcher is not None:  # what still runs, if this ends early
            with contextlib.suppress(optuna.exceptions.StorageInternalError):
                searcher.cancel()


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
