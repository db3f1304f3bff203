"""What the paper's training takes on one GPU, and how many trials an hour it gives when several
share it.

``KERAS_BACKEND=jax python benchmarks/gpu.py [--pairs 20000] [--epochs 50] [--at-once 1 2 4 8]
[--precision float32] [--json FILE]``. The whole-image network is trained in full; the split-image
network by timed steps, extrapolated. Needs no Ray and no TensorFlow; without a GPU it measures the
processor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from study.config import DatasetConfig
from study.data.layouts import bbbc006
from study.data.prepare import prepare
from study.data.store import Resolution, Store
from study.trial.device import gpu_busy
from study.trial.task import TrialTask

WHOLE = {"family": "whole", "depth": 2, "filters": 32, "growth": 2, "loss": "l1", "image_size": 128}
SPLIT = {
    "family": "split",
    "depth": 3,
    "filters": 64,
    "growth": 1,
    "loss": "l1",
    "image_size": 768,
    "patch_size": 128,
}
DEFOCUSED = 33  # planes of BBBC006
PATCHES = 36
PAIRS_OF_THE_PAPER = 20_262
SAMPLED_EVERY_S = 1.0


def make_store(folder: Path, *, pairs: int, wells: int) -> Store:
    """Make a store of at least so many pairs: a few simulated wells at all planes, over and
    over.
    """
    bbbc006.simulate(folder / "raw", wells=wells, seed=0)
    resolutions = [
        Resolution(128, "paper"),
        Resolution(768, "paper"),
        Resolution(128, "antialiased"),
    ]
    small = prepare(
        DatasetConfig(kind="bbbc006", resize="paper"),
        folder / "raw",
        folder / "stores",
        resolutions=resolutions,
    )
    fields = -(-pairs // DEFOCUSED) + 1
    target = folder / "large"
    target.mkdir()
    for path in sorted(small.folder.glob("*.npy")):
        array = np.load(path, mmap_mode="r")
        if "768" in path.name:  # for timed steps a few fields are enough
            np.save(target / path.name, array)
        else:
            np.save(target / path.name, array[np.arange(fields) % len(array)])
    names = [f"{small.fields[number % wells]}-{number}" for number in range(fields)]
    described = small.description | {"fields": names, "wells": names}
    (target / "store.json").write_text(json.dumps(described), encoding="utf-8")
    return Store(target)


def make_task(
    store: Store,
    hyperparameters: dict[str, Any],
    *,
    epochs: int,
    precision: str,
    fields: int,
) -> TrialTask:
    """Return the paper's training of a network on so many fields; the last field is scored."""
    return TrialTask(
        hyperparameters=hyperparameters,
        store=str(store.folder),
        folder="",
        train_fields=list(range(fields - 1)),
        eval_fields=[fields - 1],
        eval_split="test",
        resize="paper",
        evaluation_size=128,
        epochs=epochs,
        batch_size=16,
        patches_per_image=None,
        inference="whole",
        rung_images=0,
        rung_seed=0,
        seed=0,
        threads=int(os.environ.get("REFOCUS_THREADS", "2")),
        precision=precision,
    )


def train(task: TrialTask, result: Path) -> None:
    """Train in this process; leave the seconds of every epoch."""
    from study.trial.training import run_trial

    with tempfile.TemporaryDirectory() as folder:
        reports = list(run_trial(replace(task, folder=folder)))
    epochs = [report.metrics["seconds"] for report in reports]
    score = reports[-1].score
    result.write_text(
        json.dumps({"epochs": epochs, "summary": score.summary if score else None}),
        encoding="utf-8",
    )


def time_split(task: TrialTask, result: Path) -> None:
    """Time steps of the split-image network; leave the seconds of one."""
    from study.trial.timing import time_steps

    result.write_text(json.dumps(time_steps(task)), encoding="utf-8")


class Utilisation:
    """The share of the time in which the GPU computed, sampled while a block runs; nan without a
    GPU.
    """

    def __enter__(self) -> Utilisation:
        self._samples: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def share(self) -> float:
        """Mean of the samples."""
        return float(np.mean(self._samples)) if self._samples else float("nan")

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLED_EVERY_S):
            if (share := gpu_busy()) is not None:
                self._samples.append(share)


def run_processes(commands: list[list[str]]) -> float:
    """Run programs at once; return the seconds until the last has ended."""
    began = time.perf_counter()
    running = [subprocess.Popen(command) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"a training ended with status {max(codes, key=abs)}")
    return time.perf_counter() - began


@dataclass(frozen=True)
class Measured:
    """What processes that ran at once left, how long they took, and how busy the GPU was."""

    answers: list[dict[str, Any]]
    seconds: float
    gpu_busy: float


def measure(what: str, task: TrialTask, folder: Path, *, copies: int = 1) -> Measured:
    """Run a task in so many processes at once."""
    results = [folder / f"{what}-{number}.json" for number in range(copies)]
    called = [sys.executable, __file__, "--in-process", what, json.dumps(asdict(task))]
    with Utilisation() as used:
        seconds = run_processes([[*called, str(result)] for result in results])
    answers = [json.loads(result.read_text(encoding="utf-8")) for result in results]
    return Measured(answers, seconds, used.share)


def epoch_seconds(answer: dict[str, Any]) -> float:
    """Return what an epoch takes, but for the first, which compiles."""
    return float(np.median(answer["epochs"][1:] or answer["epochs"]))


def measure_whole(task: TrialTask, folder: Path) -> dict[str, Any]:
    """Train the whole-image network in full."""
    pairs = len(task.train_fields) * DEFOCUSED
    measured = measure("train", task, folder)
    [answer] = measured.answers
    row = {
        "pairs": pairs,
        "epochs": task.epochs,
        "minutes": measured.seconds / 60,
        "images_per_second": pairs / epoch_seconds(answer),
        "gpu_busy": measured.gpu_busy,
        "ssim": answer["summary"]["ssim"],
    }
    print(
        f"whole image, {task.epochs} epochs of {pairs:,} pairs: {row['minutes']:.2f} min,"
        f" {row['images_per_second']:,.0f} images/s, GPU busy {100 * measured.gpu_busy:.0f} %",
        flush=True,
    )
    return row


def measure_split(task: TrialTask, folder: Path) -> dict[str, Any]:
    """Time steps of the split-image network, and extrapolate them to the paper's training."""
    [answer] = measure("split", task, folder).answers
    step, steps = answer["seconds_per_step"], -(-PAIRS_OF_THE_PAPER * PATCHES // 16)
    hours = 50 * steps * step / 3600
    print(
        f"split image: {1000 * step:.2f} ms a step, {16 / step:,.0f} patches/s; 50 epochs of the"
        f" paper's data: {hours:.2f} h",
        flush=True,
    )
    return {
        "seconds_per_step": step,
        "patches_per_second": 16 / step,
        "hours_of_50_epochs": hours,
    }


def measure_at_once(task: TrialTask, folder: Path, *, trials: int) -> dict[str, Any]:
    """Train the whole-image network in several processes that share the GPU."""
    shared = replace(task, gpu_share=1 / trials if trials > 1 else None)
    measured = measure("train", shared, folder, copies=trials)
    epoch = float(np.median([epoch_seconds(answer) for answer in measured.answers]))
    hour = trials * 3600 / (50 * epoch)
    print(
        f"{trials} at once: {epoch:.2f} s an epoch each, {hour:.2f} trials of 50 epochs an hour,"
        f" GPU busy {100 * measured.gpu_busy:.0f} %",
        flush=True,
    )
    return {
        "trials": trials,
        "epoch_seconds": epoch,
        "trials_an_hour": hour,
        "gpu_busy": measured.gpu_busy,
    }


def main() -> None:
    """Measure, and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument(
        "--wells", type=int, default=6, help="that are simulated; the store repeats them"
    )
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument(
        "--epochs-at-once",
        type=int,
        default=3,
        help="that each of several trials at once is trained for",
    )
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--json", type=Path)
    # what, its task, where the result goes
    parser.add_argument("--in-process", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        what, task, result = options.in_process
        {"train": train, "split": time_split}[what](TrialTask(**json.loads(task)), Path(result))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = make_store(folder, pairs=options.pairs, wells=options.wells)
        fields, precision = len(store.fields), options.precision
        whole = make_task(store, WHOLE, epochs=options.epochs, precision=precision, fields=fields)
        split = make_task(store, SPLIT, epochs=1, precision=precision, fields=options.wells)
        short = replace(whole, epochs=options.epochs_at_once)
        results: dict[str, Any] = {
            "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
            "precision": precision,
            "whole": measure_whole(whole, folder),
            "split": measure_split(split, folder),
            "at_once": [measure_at_once(short, folder, trials=n) for n in options.at_once],
        }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
