"""Which searcher finds a good network in fewer epochs, and what a warm start saves: on recorded
curves, with many seeds.

``python benchmarks/searchers.py record --kind bbbc005 --root RAW --curves FILE`` trains random
configurations of the space `beyond` on small images, every epoch of each, and keeps the curves.
``python benchmarks/searchers.py race --curves FILE [--earlier FILE]`` then repeats searches on
them: a proposed configuration has the curve that a forest of trees, fitted to the recorded ones,
predicts for it (as in NAS-Bench-301, Siems et al., 2020, arXiv:2008.09777), plus noise of the size
that recorded curves jump by. Searcher, ASHA and warm start are the program's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import optuna
import pandas as pd
from ray.tune.schedulers import TrialScheduler
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from search_spaces import SPACES
from search_spaces.baselines import baselines
from search_spaces.bridge import OptunaHyperParameters
from search_spaces.sizes import Sizes
from study.config import DatasetConfig, SearchConfig, StudyConfig, TrainingConfig
from study.data.prepare import prepare
from study.data.splits import split_by_well
from study.data.store import Resolution
from study.errors import TrialFailed
from study.record.events import EpochEnded, Hyperparameters, TrialEnded
from study.record.history import Run
from study.record.identities import Phase, Role, RunId, TrialStatus
from study.trial.task import TrialTask
from study.trial.training import run_trial
from study.tune.resume import WARM_PROPOSALS, WarmStart
from study.tune.scheduler import make_scheduler
from study.tune.searcher import NO_WARM_START, OptunaSearcher
from study.tune.tasks import Configuration
from study.tune.trainable import FINISHED, OBJECTIVE, Job

SIZES = Sizes([16], 32, [16], [16])
EPOCHS, IMAGES, RUNG_IMAGES = 9, 256, 64
CONFIG = StudyConfig(
    training=TrainingConfig(epochs=EPOCHS),
    search=SearchConfig(space="beyond", scheduler="asha", grace_epochs=1, reduction_factor=3),
)


def make_task(hyperparameters: Hyperparameters, seed: int, **own: Any) -> TrialTask:
    """Return the task of every configuration: a short training, scored after each epoch."""
    values: dict[str, Any] = {
        "store": "",
        "folder": "",
        "train_fields": [],
        "eval_fields": [],
        "eval_split": "validation",
        "resize": "antialiased",
        "evaluation_size": 16,
        "epochs": EPOCHS,
        "batch_size": 16,
        "patches_per_image": 1,
        "images_per_epoch": IMAGES,
        "inference": "whole",
        "rung_images": RUNG_IMAGES,
        "rung_seed": 0,
        "threads": 1,
    }
    return TrialTask(hyperparameters=hyperparameters, seed=seed, **values | own)


def record(kind: str, root: Path, target: Path, *, trials: int, fields: int, seed: int) -> None:
    """Train random configurations of the space on small images; append them and the curves of their
    rung scores to a file, from where it ends.
    """
    done = len(read_curves(target)) if target.exists() else 0
    with tempfile.TemporaryDirectory() as folder:
        dataset = DatasetConfig(kind=kind, root=str(root), max_fields=fields)
        store = prepare(
            dataset,
            root,
            Path(folder) / "stores",
            resolutions=[Resolution(size, "antialiased") for size in (16, 32)],
        )
        split = split_by_well(store.wells, test=0.2, validation=0.2, seed=0)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        for number in range(trials):
            hyperparameters = SPACES["beyond"](OptunaHyperParameters(study.ask()), SIZES)
            if number < done:
                continue
            task = make_task(
                hyperparameters,
                number,
                store=str(store.folder),
                folder=str(Path(folder) / f"{number}"),
                train_fields=split.train,
                eval_fields=split.validation,
            )
            curve = []
            with contextlib.suppress(TrialFailed):
                curve = [report.metrics["objective"] for report in run_trial(task)]
            row = {"hyperparameters": hyperparameters, "curve": curve}
            with target.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{number + 1}/{trials}: {curve}", flush=True)


def read_curves(path: Path) -> list[dict[str, Any]]:
    """Read what `record` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Surrogate:
    """A forest of trees fitted to recorded curves, and the noise that trainings of one
    configuration were recorded to have.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        rows = [row for row in rows if row["curve"]]  # those that did not diverge
        self._configurations = pd.DataFrame([row["hyperparameters"] for row in rows])
        self._words = [
            name
            for name in self._configurations
            if self._configurations[name]
            .dropna()
            .map(lambda value: isinstance(value, str | bool))
            .any()
        ]
        self._columns = self._dummies(self._configurations).columns
        coded, curves = self._encode(self._configurations), np.array([row["curve"] for row in rows])
        assert self._encode(pd.DataFrame([rows[0]["hyperparameters"]])).equals(
            coded.iloc[:1]
        )  # one alone is coded as among the others
        self._trees = ExtraTreesRegressor(
            n_estimators=100, min_samples_leaf=2, random_state=0, n_jobs=1
        )
        guessed = cross_val_predict(self._trees, coded, curves, cv=10)
        self.rank = float(
            pd.Series(guessed[:, -1]).corr(pd.Series(curves[:, -1]), method="spearman")
        )
        smooth = (curves[:, :-2] + curves[:, 1:-1] + curves[:, 2:]) / 3
        wobble = 1.4826 * np.median(
            np.abs(curves[:, 1:-1] - smooth), axis=0
        )  # how far a curve jumps from epoch to epoch
        self.noise = float(np.median(wobble)) * np.sqrt(1.5)
        self._trees.fit(coded, curves)

    def curve(self, hyperparameters: Hyperparameters, seed: int) -> np.ndarray:
        """Return the curve of one training; another seed is another training."""
        own = np.random.default_rng(
            [seed, zlib.crc32(json.dumps(hyperparameters, sort_keys=True).encode())]
        )
        return np.asarray(
            self._trees.predict(self._encode(pd.DataFrame([hyperparameters])))[0]
            + own.normal(0, self.noise, EPOCHS)
        )

    def _dummies(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.reindex(columns=self._configurations.columns)
        return pd.get_dummies(frame.astype(dict.fromkeys(self._words, str)), columns=self._words)

    def _encode(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return numbers alone; a hyperparameter that a configuration does not have is -1."""
        coded = self._dummies(frame)
        numbers = [name for name in self._columns if name in self._configurations.columns]
        coded = coded.reindex(columns=self._columns, fill_value=0)
        return coded.astype(dict.fromkeys(numbers, float)).fillna(-1.0).astype(float)


class TunedTrial:
    """What Tune's searchers and schedulers see of a trial."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.trial_id, self.config = "t", config


def search_job(configuration: Configuration) -> Job:
    """Return the job of a configuration: nothing trains it, the surrogate has its curve."""
    task = make_task(configuration.hyperparameters, 0)
    run = RunId(Phase.SEARCH, configuration.trial, 0)
    return Job(run, configuration.label, configuration.role, task)


def run_job(
    config: dict[str, Any], curve: np.ndarray, searcher: OptunaSearcher, scheduler: TrialScheduler
) -> Run:
    """Report a curve to searcher and scheduler, epoch by epoch, until the trial is stopped or ends;
    return the run as a ledger holds it.
    """
    job, trial = Job.of(config), TunedTrial(config)
    run = Run(job.begun)
    for epoch, value in enumerate(map(float, curve), start=1):
        run.epochs[epoch] = EpochEnded(**job.key, epoch=epoch, metrics={}, cost={}, objective=value)
        result = {"epoch": epoch, OBJECTIVE: value}
        if epoch == EPOCHS or scheduler.on_trial_result(None, trial, result) == "STOP":
            break
        searcher.on_trial_result(trial.trial_id, result)
    ended = epoch == EPOCHS
    searcher.on_trial_complete(trial.trial_id, result | {FINISHED: ended})
    status = TrialStatus.FINISHED if ended else TrialStatus.STOPPED
    run.end = TrialEnded(**job.key, status=status, reason="", epoch=epoch)
    return run


def search(
    surrogate: Surrogate, *, searcher: str, seed: int, trials: int, warm: WarmStart = NO_WARM_START
) -> tuple[list[tuple[int, float]], list[Run]]:
    """Run the program's searcher and ASHA, one trial at a time.

    Returns
    -------
    list of (int, float)
        Epochs spent and the best finished score so far, after each trial; the baselines, which are
        run in every search, do not count.
    list of Run
        The searched trials.
    """
    named = replace(CONFIG.search, searcher=searcher)
    scheduler = make_scheduler(replace(CONFIG, search=named, seed=seed), [])
    driven = OptunaSearcher(
        lambda hp: SPACES["beyond"](hp, SIZES),
        baselines=baselines(SIZES),
        make_job=search_job,
        folder=None,
        sampler=searcher,
        seed=seed,
        trials=trials,
        past={},
        warm=warm,
    )
    spent, best, progress, searched = 0, -np.inf, [], []
    while isinstance(config := driven.suggest("t"), dict):
        curve = surrogate.curve(Job.of(config).task.hyperparameters, seed)
        run = run_job(config, curve, driven, scheduler)
        if run.role == Role.BASELINE:
            continue
        searched.append(run)
        spent += len(run.epochs)
        if run.finished:
            best = max(best, run.curve[EPOCHS])
        progress.append((spent, best))
    return progress, searched


def main() -> None:
    """Record, or race and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--kind", choices=("bbbc005", "bbbc006"), required=True)
    recording.add_argument("--root", type=Path, required=True)
    recording.add_argument("--trials", type=int, default=150)
    recording.add_argument("--fields", type=int, default=60)
    recording.add_argument("--curves", type=Path, required=True)
    racing = commands.add_parser("race")
    racing.add_argument("--curves", type=Path, required=True)
    racing.add_argument("--earlier", type=Path, help="curves on other images, to start warm from")
    racing.add_argument("--seeds", type=int, default=10)
    racing.add_argument("--trials", type=int, default=60)
    racing.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.command == "record":
        record(
            options.kind,
            options.root,
            options.curves,
            trials=options.trials,
            fields=options.fields,
            seed=1,
        )
    else:
        race(options)


def race(options: argparse.Namespace) -> None:
    """Repeat searches with each searcher and from each start; print medians over seeds."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    here = Surrogate(read_curves(options.curves))
    print(
        f"surrogate: Spearman {here.rank:.3f} on points that it was not fitted to; noise of a score"
        f" {here.noise:.4f}"
    )
    there = Surrogate(read_curves(options.earlier)) if options.earlier else None
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        earlier = search(here, searcher="tpe", seed=1000 + seed, trials=options.trials)[1]
        arms = {
            "tpe": ("tpe", WarmStart()),
            "random": ("random", WarmStart()),
            "tpe, warm from the same images": ("tpe", WarmStart(told=earlier)),
        }
        if there is not None:
            other = search(there, searcher="tpe", seed=2000 + seed, trials=options.trials)[1]
            finished = [run for run in other if run.finished]
            finished.sort(key=lambda run: -run.curve[EPOCHS])
            proposed = [run.hyperparameters for run in finished[:WARM_PROPOSALS]]
            arms["tpe, warm from other images"] = ("tpe", WarmStart(proposed=proposed))
        for name, (searcher, warm) in arms.items():
            progress = search(here, searcher=searcher, seed=seed, trials=options.trials, warm=warm)[
                0
            ]
            rows.extend(
                {"seed": seed, "arm": name, "epochs": spent, "best": best}
                for spent, best in progress
            )
        print(f"seed {seed + 1}/{options.seeds}", flush=True)
    table = pd.DataFrame(rows)
    print_race(table)
    if options.json:
        options.json.write_text(table.to_json(orient="records"), encoding="utf-8")


def print_race(table: pd.DataFrame) -> None:
    """Print the best score at equal epochs, and the epochs to the cold study's best."""
    arms = list(dict.fromkeys(table["arm"]))
    least = int(table.groupby(["arm", "seed"])["epochs"].max().min())
    print(
        f"\nbest score after so many epochs: median over seeds\n{'':34}"
        + "".join(f"{share * least // 4:>9}" for share in (1, 2, 3, 4))
    )
    best = {}
    for arm in arms:
        cells = []
        for share in (1, 2, 3, 4):
            until = (
                table[(table["arm"] == arm) & (table["epochs"] <= share * least // 4)]
                .groupby("seed")["best"]
                .max()
            )
            cells.append(f"{until.median():9.4f}")
        best[arm] = until
        print(f"{arm:34}" + "".join(cells))
    for arm in arms[1:]:
        difference = best["tpe"] - best[arm]
        low, middle, high = np.quantile(difference, [0.25, 0.5, 0.75])
        print(f"tpe less {arm}: median {middle:+.4f} (quartiles {low:+.4f} to {high:+.4f})")
    print("\nepochs to the cold tpe study's best: median over seeds (quartiles)")
    goal = table[table["arm"] == "tpe"].groupby("seed")["best"].max()
    for arm in arms:
        reached = []
        for seed, target in goal.items():
            rows = table[
                (table["arm"] == arm) & (table["seed"] == seed) & (table["best"] >= target)
            ]
            reached.append(rows["epochs"].min() if len(rows) else np.inf)
        low, middle, high = np.quantile(reached, [0.25, 0.5, 0.75], method="nearest")
        print(f"{arm:34}{middle:9.0f} ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
