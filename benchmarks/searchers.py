"""Which searcher finds a good network in fewer epochs, and what a warm start saves: on recorded
curves, with many seeds.

``python benchmarks/searchers.py record --kind bbbc005 --root RAW --curves FILE`` trains random
points of the space `beyond` on small images, every epoch of each, and keeps the curves. ``python
benchmarks/searchers.py race --curves FILE [--earlier FILE]`` then repeats searches on them: a
proposed point has the curve that a forest of trees, fitted to the recorded ones, predicts for it
(as in NAS-Bench-301, Siems et al., 2020, arXiv:2008.09777), plus noise of the size that recorded
curves jump by. Searcher, ASHA and warm start are the program's own.
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
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import optuna
import pandas as pd
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
from study.trial.task import TrialTask
from study.trial.training import run_trial
from study.tune.resume import WARM_PROPOSALS, PastTrial, WarmStart
from study.tune.scheduler import make_scheduler
from study.tune.searcher import NO_WARM_START, OptunaSearcher
from study.tune.trainable import FINISHED, OBJECTIVE, Job

SIZES = Sizes([16], 32, [16], [16])
EPOCHS, IMAGES, RUNG_IMAGES = 9, 256, 64
CONFIG = StudyConfig(
    training=TrainingConfig(epochs=EPOCHS),
    search=SearchConfig(space="beyond", scheduler="asha", grace_epochs=1, reduction_factor=3),
)


def record(kind: str, root: Path, target: Path, *, trials: int, fields: int, seed: int) -> None:
    """Train random points of the space on small images; append points and curves of the rung score
    to a file, going on where it ends.
    """
    done = len(read_curves(target)) if target.exists() else 0
    with tempfile.TemporaryDirectory() as folder:
        dataset = DatasetConfig(kind=kind, root=str(root), max_fields=fields)  # type: ignore[arg-type]
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
            task = TrialTask(
                hyperparameters=hyperparameters,
                store=str(store.folder),
                folder=str(Path(folder) / f"{number}"),
                train_fields=split.train,
                eval_fields=split.validation,
                eval_split="validation",
                resize="antialiased",
                evaluation_size=16,
                epochs=EPOCHS,
                batch_size=16,
                patches_per_image=1,
                images_per_epoch=IMAGES,
                inference="whole",
                rung_images=RUNG_IMAGES,
                rung_seed=0,
                seed=number,
                threads=1,
            )
            curve = []
            with contextlib.suppress(TrialFailed):
                curve = [report.metrics["objective"] for report in run_trial(task)]
            with target.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"point": hyperparameters, "curve": curve}) + "\n")
            print(f"{number + 1}/{trials}: {curve}", flush=True)


def read_curves(path: Path) -> list[dict[str, Any]]:
    """Read what `record` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Surrogate:
    """A forest of trees fitted to recorded curves, and the noise that trainings of one point were
    recorded to have.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        rows = [row for row in rows if row["curve"]]  # those that did not diverge
        self._points = pd.DataFrame([row["point"] for row in rows])
        self._words = [
            name
            for name in self._points
            if self._points[name].dropna().map(lambda value: isinstance(value, str | bool)).any()
        ]
        self._columns = self._dummies(self._points).columns
        coded, curves = self._encode(self._points), np.array([row["curve"] for row in rows])
        assert self._encode(pd.DataFrame([rows[0]["point"]])).equals(
            coded.iloc[:1]
        )  # a point alone is coded as among the others
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

    def curve(self, hyperparameters: dict[str, Any], seed: int) -> np.ndarray:
        """Return the curve of one training; another seed is another training."""
        own = np.random.default_rng(
            [seed, zlib.crc32(json.dumps(hyperparameters, sort_keys=True).encode())]
        )
        return np.asarray(
            self._trees.predict(self._encode(pd.DataFrame([hyperparameters])))[0]
            + own.normal(0, self.noise, EPOCHS)
        )

    def _dummies(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.reindex(columns=self._points.columns)
        return pd.get_dummies(frame.astype(dict.fromkeys(self._words, str)), columns=self._words)

    def _encode(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Hyperparameters that a point does not have are -1."""
        coded = self._dummies(frame)
        numbers = [name for name in self._columns if name in self._points.columns]
        coded = coded.reindex(columns=self._columns, fill_value=0)
        return coded.astype(dict.fromkeys(numbers, float)).fillna(-1.0).astype(float)


def search(
    surrogate: Surrogate, *, searcher: str, seed: int, trials: int, warm: WarmStart = NO_WARM_START
) -> tuple[list[tuple[int, float]], list[PastTrial]]:
    """Run the program's searcher and ASHA, one trial at a time.

    Returns
    -------
    list of (int, float)
        Epochs spent and the best finished score so far, after each trial.
    list of PastTrial
        The searched trials.
    """
    configurations = baselines(SIZES)
    config = replace(CONFIG, search=replace(CONFIG.search, searcher=searcher), seed=seed)  # type: ignore[arg-type]
    driven = OptunaSearcher(
        lambda hp: SPACES["beyond"](hp, SIZES),
        baselines=configurations,
        folder=None,
        sampler=searcher,
        seed=seed,
        trials=trials,
        past={},
        warm=warm,
        make_job=lambda number, name, hyperparameters: Job(
            "search", number, 0, name or "", name is not None, {"hyperparameters": hyperparameters}
        ),
    )
    asha = make_scheduler(config, {})
    spent, best, progress, past = 0, -np.inf, [], []
    while isinstance(job := driven.suggest("t"), dict):
        described = Job.of(job)
        hyperparameters = described.task["hyperparameters"]
        values, trial = (
            surrogate.curve(hyperparameters, seed),
            PastTrial(described.trial, described.baseline, hyperparameters),
        )
        for epoch, value in enumerate(values, start=1):
            spent += 0 if described.baseline else 1  # the baselines are run in every search
            trial.curve[epoch] = float(value)
            stopped = (
                not described.baseline
                and epoch < EPOCHS
                and asha._brackets[0].on_result(
                    SimpleNamespace(trial_id=f"{described.trial}"), epoch, float(value)
                )
                == "STOP"
            )
            if stopped or epoch == EPOCHS:
                break
            driven.on_trial_result("t", {"epoch": epoch, OBJECTIVE: float(value)})
        trial.status = "finished" if epoch == EPOCHS else "stopped"
        driven.on_trial_complete(
            "t", {"epoch": epoch, OBJECTIVE: float(value), FINISHED: epoch == EPOCHS}
        )
        if not described.baseline:
            past.append(trial)
            if epoch == EPOCHS:
                best = max(best, float(value))
            progress.append((spent, best))
    return progress, past


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
            "evolution": ("evolution", WarmStart()),
            "tpe, warm from the same images": ("tpe", WarmStart(told=earlier)),
        }
        if there is not None:
            other = [
                trial
                for trial in search(there, searcher="tpe", seed=2000 + seed, trials=options.trials)[
                    1
                ]
                if trial.status == "finished"
            ]
            other.sort(key=lambda trial: -trial.curve[EPOCHS])
            arms["tpe, warm from other images"] = (
                "tpe",
                WarmStart(proposed=[trial.hyperparameters for trial in other[:WARM_PROPOSALS]]),
            )
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
