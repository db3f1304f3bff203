"""How fast a study's record reaches MLflow: the mirror's batches beside one `log_metrics` a step.

``python benchmarks/record.py [--uri URI] [--trials 500] [--json FILE]``. Made-up trials of 50
epochs with 6 metrics, and 34 levels with 4 metrics each, go from a ledger through the mirror to the
server; then `mlflow.log_metrics` logs the epochs and levels of some of them, one call each. It says
too how long the ledger takes to be written and read.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mlflow
import numpy as np

from analysis.figures import draw_trial
from analysis.paper_tables import reference_curves
from study.config import StudyConfig
from study.record.events import (
    EpochEnded,
    Event,
    StudyBegun,
    StudyEnded,
    TrialBegun,
    TrialEnded,
    TrialScored,
)
from study.record.facts import Environment, ImageFacts, StoreFacts
from study.record.identities import Phase, Role, TrialId, TrialStatus
from study.record.ledger import Ledger, read_history
from study.record.mirror import Mirror

EPOCHS, LEVELS, WELLS = 50, list(range(34)), 8
METRICS = ("ssim", "psnr", "nrmse", "mse")
EPOCH_METRICS = ("loss", "learning_rate", "seconds", "ssim", "psnr", "objective")


def made_up_level(level: int, skill: float, rng: np.random.Generator) -> dict[str, float]:
    """Return plausible metrics of a plane, so that curves look like curves."""
    ssim = 1 - (0.02 + 0.5 * (1 - skill)) * min(1.0, abs(level - 16) / 16) - 0.01 * rng.random()
    return {"ssim": ssim, "psnr": 20 + 12 * ssim, "nrmse": 1 - ssim, "mse": (1 - ssim) / 50}


def begin_study(name: str) -> StudyBegun:
    """Return the first event of a study that never was."""
    sides = {"train": WELLS, "validation": WELLS, "test": WELLS}
    images = ImageFacts(
        title="BBBC006",
        simulated="made up",
        in_focus_level=16,
        level_title="plane",
        level_axis="plane z",
        level_symbol="z",
        shown_levels=LEVELS[::8],
        well_title="well",
        fields=sides,
        wells=sides,
    )
    store = StoreFacts(
        folder="",
        fingerprint="0" * 64,
        kind="bbbc006",
        source="made up",
        channel="w1",
        levels=LEVELS,
        resolutions=[],
    )
    environment = Environment(
        command=[],
        python="",
        platform="",
        processor="",
        cpus=None,
        backend="",
        packages={},
        git=None,
    )
    return StudyBegun(
        uid=name,
        name=name,
        config=StudyConfig(name=name),
        store=store,
        images=images,
        split={},
        environment=environment,
    )


def trial_events(number: int, rng: np.random.Generator) -> Iterator[Event]:
    """Yield what a trial that runs to its end leaves."""
    key: dict[str, Any] = {"phase": Phase.SEARCH, "trial": TrialId(number), "replicate": 0}
    skill = float(rng.beta(5, 2))
    yield TrialBegun(
        **key,
        label=f"trial {number:04d}",
        role=Role.SEARCHED,
        hyperparameters={"depth": number % 4 + 1, "filters": 2 ** (4 + number % 3)},
        seed=number,
        threads=1,
        eval_split="validation",
        epochs=EPOCHS,
        folder="",
    )
    for epoch in range(1, EPOCHS + 1):
        learnt = skill * (1 - math.exp(-epoch / 12))
        metrics = {name: learnt + 0.01 * rng.random() for name in EPOCH_METRICS}
        objective = metrics["objective"]
        yield EpochEnded(**key, epoch=epoch, metrics=metrics, cost={}, objective=objective)
    table = [[made_up_level(level, skill, rng) for level in LEVELS] for _ in range(WELLS)]
    wells = [f"a{well:02d}" for well in range(WELLS)]
    yield TrialScored(
        **key,
        eval_split="validation",
        levels=LEVELS,
        fields=wells,
        wells=wells,
        evaluation={name: [[cell[name] for cell in row] for row in table] for name in METRICS},
        own={},
        summary={},
        cost={},
    )
    yield TrialEnded(**key, status=TrialStatus.FINISHED, reason="", epoch=EPOCHS)


def write_ledger(folder: Path, *, trials: int) -> int:
    """Write the ledger of a study that never was; return how many metrics of trials it holds."""
    rng = np.random.default_rng(0)
    with Ledger(folder) as ledger:
        ledger.append(begin_study(folder.name))
        for reference in reference_curves("bbbc006"):
            ledger.append(reference)
        for number in range(trials):
            for event in trial_events(number, rng):
                ledger.append(event)
        ledger.append(StudyEnded(status="finished"))
    return trials * (len(EPOCH_METRICS) * EPOCHS + len(METRICS) * len(LEVELS))


def log_by_steps(uri: str, *, trials: int) -> tuple[int, float]:
    """Log as many numbers of each trial with a call for each epoch and level; return their number
    and the seconds.
    """
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("one call a step")
    rng, count, began = np.random.default_rng(0), 0, time.perf_counter()
    for trial in range(trials):
        with mlflow.start_run(run_name=f"trial {trial:04d}"):
            for epoch in range(1, EPOCHS + 1):
                mlflow.log_metrics(
                    {name: float(rng.random()) for name in EPOCH_METRICS}, step=epoch
                )
            for level in LEVELS:
                mlflow.log_metrics(
                    {
                        f"level/{name}": value
                        for name, value in made_up_level(level, 0.8, rng).items()
                    },
                    step=level,
                )
            count += len(EPOCH_METRICS) * EPOCHS + len(METRICS) * len(LEVELS)
    return count, time.perf_counter() - began


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--uri", help="a tracking URI, for example postgresql://...; a sqlite file if not given"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where ledger and sqlite file are kept; a scratch folder if not given",
    )
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument(
        "--by-steps", type=int, default=20, help="trials that are logged with one call a step"
    )
    parser.add_argument(
        "--figures", action="store_true", help="draw the trials' figures too, as a study does"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        uri = options.uri or f"sqlite:///{folder / 'mlflow.db'}"
        began = time.perf_counter()
        count = write_ledger(folder / "studies" / "made-up", trials=options.trials)
        print(
            f"ledger: {count} metrics of {options.trials} trials in"
            f" {time.perf_counter() - began:.0f} s, each event on the disk"
        )
        began = time.perf_counter()
        events = len(read_history(folder / "studies" / "made-up").events)
        print(f"its {events} events are read in {time.perf_counter() - began:.1f} s")
        mirror = Mirror(
            folder / "studies" / "made-up",
            uri=uri,
            experiment="refocus",
            draw=draw_trial if options.figures else None,
            again=True,
        )
        mirror.check()
        began = time.perf_counter()
        mirror.start()
        left = mirror.close(patience_s=3600)
        mirrored_s = time.perf_counter() - began
        if left:
            raise SystemExit(f"{left} events were not mirrored: {mirror.failure}")
        single, single_s = log_by_steps(uri, trials=options.by_steps)
    results = {"mirror": count / mirrored_s, "one call a step": single / single_s}
    print(f"{'mirror':20}{results['mirror']:8.0f} metrics a second ({count} in {mirrored_s:.0f} s)")
    print(
        f"{'one call a step':20}{results['one call a step']:8.0f} metrics a second ({single} in"
        f" {single_s:.0f} s)"
    )
    print(f"ratio {results['mirror'] / results['one call a step']:.1f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
