"""What the paper's training takes on one GPU, and how many trials an hour it gives when several
share it.

``KERAS_BACKEND=jax python benchmarks/gpu.py [--pairs 20000] [--epochs 50] [--at-once 1 2 4 8]
[--precision float32] [--scaled-down] [--json FILE]``. The whole-image network is trained in full;
the split-image network by timed steps, extrapolated. Needs no Ray and no TensorFlow; without a GPU
it measures the processor.
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

PAPER = {
    "whole": {
        "family": "whole",
        "depth": 2,
        "filters": 32,
        "growth": 2,
        "loss": "l1",
        "image_size": 128,
    },
    "split": {
        "family": "split",
        "depth": 3,
        "filters": 64,
        "growth": 1,
        "loss": "l1",
        "image_size": 768,
        "patch_size": 128,
    },
}
SCALED_DOWN = {  # to see that all of it runs
    "whole": PAPER["whole"] | {"depth": 1, "filters": 4, "image_size": 32},
    "split": PAPER["split"] | {"depth": 1, "filters": 4, "image_size": 64, "patch_size": 32},
}
SIMULATED = 6  # wells at most; the store repeats them
DEFOCUSED = 33  # planes of BBBC006
PATCHES = 36
PAIRS_OF_THE_PAPER = 20_262
SAMPLED_EVERY_S = 1.0


def make_store(folder: Path, networks: dict[str, dict[str, Any]], *, pairs: int) -> Store:
    """Make a store of at least so many pairs: a few simulated wells at all planes, over and
    over.
    """
    fields = -(-pairs // DEFOCUSED) + 1
    whole, split = (networks[name]["image_size"] for name in ("whole", "split"))
    bbbc006.simulate(folder / "raw", wells=min(SIMULATED, fields), seed=0)
    small = prepare(
        DatasetConfig(kind="bbbc006", resize="paper"),
        folder / "raw",
        folder / "stores",
        resolutions=[
            Resolution(whole, "paper"),
            Resolution(split, "paper"),
            Resolution(whole, "antialiased"),
        ],
    )
    target = folder / "large"
    target.mkdir()
    for path in sorted(small.folder.glob("*.npy")):
        array = np.load(path, mmap_mode="r")
        if f"_{split}." in path.name:  # for timed steps a few fields are enough
            np.save(target / path.name, array)
        else:
            np.save(target / path.name, array[np.arange(fields) % len(array)])
    names = [f"{small.fields[number % len(small.fields)]}-{number}" for number in range(fields)]
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
    evaluation_size: int,
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
        evaluation_size=evaluation_size,
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

    time_steps(task)  # the first compiles
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
    """What programs that ran at once have left.

    Parameters
    ----------
    answers : list of dict
        The result of each.
    seconds : float
        Until the last had ended.
    busy : float
        The share of that time in which the GPU computed.
    """

    answers: list[dict[str, Any]]
    seconds: float
    busy: float

    @property
    def epoch_seconds(self) -> float:
        """Median over the programs of the median epoch of each, but for its first."""
        epochs = [answer["epochs"] for answer in self.answers]
        return float(np.median([np.median(one[1:] or one) for one in epochs]))


def measure(folder: Path, what: str, task: TrialTask, *, copies: int = 1) -> Measured:
    """Run copies of a task at once, each in a process of its own."""
    results = [folder / f"{what}-{number}.json" for number in range(copies)]
    described = json.dumps(asdict(task))
    commands = [
        [sys.executable, __file__, "--in-process", what, described, str(result)]
        for result in results
    ]
    with Utilisation() as used:
        seconds = run_processes(commands)
    answers = [json.loads(result.read_text(encoding="utf-8")) for result in results]
    return Measured(answers, seconds, used.share)


def measure_whole(folder: Path, task: TrialTask) -> dict[str, Any]:
    """Train the whole-image network in full; print and return what it took."""
    measured, pairs = measure(folder, "train", task), len(task.train_fields) * DEFOCUSED
    row = {
        "pairs": pairs,
        "epochs": task.epochs,
        "minutes": measured.seconds / 60,
        "images_per_second": pairs / measured.epoch_seconds,
        "gpu_busy": measured.busy,
        "ssim": measured.answers[0]["summary"]["ssim"],
    }
    print(
        f"whole image, {task.epochs} epochs of {pairs:,} pairs: {row['minutes']:.2f} min,"
        f" {row['images_per_second']:,.0f} images/s, GPU busy {100 * measured.busy:.0f} %",
        flush=True,
    )
    return row


def measure_split(folder: Path, task: TrialTask) -> dict[str, float]:
    """Time steps of the split-image network; print and return what they say of the paper's
    training.
    """
    step = measure(folder, "split", task).answers[0]["seconds_per_step"]
    hours = 50 * -(-PAIRS_OF_THE_PAPER * PATCHES // task.batch_size) * step / 3600
    patches = task.batch_size / step
    print(
        f"split image: {1000 * step:.2f} ms a step, {patches:,.0f} patches/s; 50 epochs of the"
        f" paper's data: {hours:.2f} h",
        flush=True,
    )
    return {"seconds_per_step": step, "patches_per_second": patches, "hours_of_50_epochs": hours}


def measure_at_once(folder: Path, task: TrialTask, count: int) -> dict[str, float]:
    """Train copies of a network that share the GPU; print and return how many an hour."""
    shared = replace(task, gpu_share=1 / count if count > 1 else None)
    measured = measure(folder, "train", shared, copies=count)
    hour = count * 3600 / (50 * measured.epoch_seconds)
    print(
        f"{count} at once: {measured.epoch_seconds:.2f} s an epoch each, {hour:.2f} trials of 50"
        f" epochs an hour, GPU busy {100 * measured.busy:.0f} %",
        flush=True,
    )
    return {
        "trials": count,
        "epoch_seconds": measured.epoch_seconds,
        "trials_an_hour": hour,
        "gpu_busy": measured.busy,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument(
        "--epochs-at-once",
        type=int,
        default=3,
        help="that each of several trials at once is trained for",
    )
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument(
        "--scaled-down",
        action="store_true",
        help="small networks and images, to see that all of it runs",
    )
    parser.add_argument("--json", type=Path)
    # what, its task, where the result goes
    parser.add_argument("--in-process", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, and print a line for each measurement."""
    options = parse()
    if options.in_process:
        what, task, result = options.in_process
        {"train": train, "split": time_split}[what](TrialTask(**json.loads(task)), Path(result))
        return
    results: dict[str, Any] = {
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "precision": options.precision,
    }
    networks = SCALED_DOWN if options.scaled_down else PAPER
    common = {
        "precision": options.precision,
        "evaluation_size": networks["whole"]["image_size"],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = make_store(folder, networks, pairs=options.pairs)
        fields = len(store.fields)
        whole = make_task(store, networks["whole"], epochs=options.epochs, fields=fields, **common)
        results["whole"] = measure_whole(folder, whole)
        fields = min(SIMULATED, fields)
        split = make_task(store, networks["split"], epochs=1, fields=fields, **common)
        results["split"] = measure_split(folder, split)
        shared = replace(whole, epochs=options.epochs_at_once)
        results["at_once"] = [measure_at_once(folder, shared, n) for n in options.at_once]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
