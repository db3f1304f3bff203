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
from dataclasses import asdict, replace
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
SIMULATED = 6  # wells; the store repeats them
DEFOCUSED = 33  # planes of BBBC006
PATCHES = 36
PAIRS_OF_THE_PAPER = 20_262
SAMPLED_EVERY_S = 1.0


def make_store(folder: Path, *, pairs: int) -> Store:
    """Make a store of at least so many pairs: a few simulated wells at all planes, over and
    over.
    """
    bbbc006.simulate(folder / "raw", wells=SIMULATED, seed=0)
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
    names = [f"{small.fields[number % SIMULATED]}-{number}" for number in range(fields)]
    described = small.description | {"fields": names, "wells": names}
    (target / "store.json").write_text(json.dumps(described), encoding="utf-8")
    return Store(target)


def make_task(
    store: Store,
    hyperparameters: dict[str, Any],
    *,
    epochs: int,
    precision: str,
    share: float | None,
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
        gpu_share=share,
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


def main() -> None:
    """Measure, and print a line for each measurement."""
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
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--in-process", nargs=3, help=argparse.SUPPRESS
    )  # what, its task, where the result goes
    options = parser.parse_args()
    if options.in_process:
        what, task, result = options.in_process
        {"train": train, "split": time_split}[what](TrialTask(**json.loads(task)), Path(result))
        return
    found: dict[str, Any] = {
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "precision": options.precision,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = make_store(folder, pairs=options.pairs)
        pairs = (len(store.fields) - 1) * DEFOCUSED

        def measure(
            what: str, task: TrialTask, copies: int = 1
        ) -> tuple[list[dict[str, Any]], float, float]:
            results = [folder / f"{what}-{number}.json" for number in range(copies)]
            commands = [
                [
                    sys.executable,
                    __file__,
                    "--in-process",
                    what,
                    json.dumps(asdict(task)),
                    str(result),
                ]
                for result in results
            ]
            with Utilisation() as used:
                seconds = run_processes(commands)
            return (
                [json.loads(result.read_text(encoding="utf-8")) for result in results],
                seconds,
                used.share,
            )

        whole = make_task(
            store,
            WHOLE,
            epochs=options.epochs,
            precision=options.precision,
            share=None,
            fields=len(store.fields),
        )
        [answer], seconds, used = measure("train", whole)
        rest = answer["epochs"][1:] or answer["epochs"]
        found["whole"] = {
            "pairs": pairs,
            "epochs": options.epochs,
            "minutes": seconds / 60,
            "images_per_second": pairs / float(np.median(rest)),
            "gpu_busy": used,
            "ssim": answer["summary"]["ssim"],
        }
        print(
            f"whole image, {options.epochs} epochs of {pairs:,} pairs: {seconds / 60:.2f} min,"
            f" {found['whole']['images_per_second']:,.0f} images/s, GPU busy {100 * used:.0f} %",
            flush=True,
        )
        split = make_task(
            store, SPLIT, epochs=1, precision=options.precision, share=None, fields=SIMULATED
        )
        [answer], _, used = measure("split", split)
        step, steps = answer["seconds_per_step"], -(-PAIRS_OF_THE_PAPER * PATCHES // 16)
        found["split"] = {
            "seconds_per_step": step,
            "patches_per_second": 16 / step,
            "hours_of_50_epochs": 50 * steps * step / 3600,
        }
        print(
            f"split image: {1000 * step:.2f} ms a step, {16 / step:,.0f} patches/s; 50 epochs of"
            f" the paper's data: {50 * steps * step / 3600:.2f} h",
            flush=True,
        )
        found["at_once"] = []
        for count in options.at_once:
            task = replace(
                whole, epochs=options.epochs_at_once, gpu_share=1 / count if count > 1 else None
            )
            answers, _, used = measure("train", task, count)
            epoch = float(
                np.median(
                    [np.median(answer["epochs"][1:] or answer["epochs"]) for answer in answers]
                )
            )
            hour = count * 3600 / (50 * epoch)
            found["at_once"].append(
                {"trials": count, "epoch_seconds": epoch, "trials_an_hour": hour, "gpu_busy": used}
            )
            print(
                f"{count} at once: {epoch:.2f} s an epoch each, {hour:.2f} trials of 50 epochs an"
                f" hour, GPU busy {100 * used:.0f} %",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
