"""Both baselines trained by every Keras backend, from the same weights on the same batches: how far
do they come apart?

``make backends``, or ``python benchmarks/backends.py [--backends tensorflow jax torch] [--epochs 5]
[--scaled-down] [--json FILE]`` where they are installed. The images are simulated; each backend
runs in a process of its own, with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from study.config import DatasetConfig
from study.data.layouts import bbbc006
from study.data.prepare import prepare
from study.data.store import Resolution, Store
from study.trial.task import TrialTask

BASELINES = {
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
        "image_size": 256,
        "patch_size": 128,
    },
}
SCALED_DOWN = {  # to see that all of it runs
    "whole": BASELINES["whole"] | {"depth": 1, "filters": 4, "image_size": 32},
    "split": BASELINES["split"] | {"depth": 1, "filters": 4, "image_size": 64, "patch_size": 32},
}
WELLS = 6
SCALED_DOWN_WELLS = 3
LEVELS = [0, 4, 8, 12, 16, 20, 24, 28, 33]


Trained = dict[str, dict[str, np.ndarray]]  # network -> what its training left


def make_task(store: Store, hyperparameters: dict[str, Any], *, epochs: int) -> TrialTask:
    """Return the task that every backend is given; sizes are the paper's, but for the split
    network's images, which are a third.
    """
    wells = len(store.wells)
    return TrialTask(
        hyperparameters=hyperparameters,
        store=str(store.folder),
        folder="unused",
        train_fields=list(range(wells - 2)),
        eval_fields=[wells - 1],
        eval_split="validation",
        resize="antialiased",
        evaluation_size=min(128, hyperparameters["image_size"]),
        epochs=epochs,
        batch_size=16,
        patches_per_image=None,
        inference="whole",
        rung_images=8,
        rung_seed=0,
        seed=0,
        threads=1,
    )


def train(task: TrialTask, weights: Path, result: Path) -> None:
    """Train in this process's backend from given weights; leave losses, scores, weights and
    restorations.
    """
    import keras

    from study.trial.evaluation import rung_score
    from study.trial.inference import make_restore
    from study.trial.threads import limit_threads
    from study.trial.training import compile_model, epoch_batches

    limit_threads(task.threads)
    keras.utils.set_random_seed(task.seed)
    store = Store(Path(task.store))
    model = compile_model(task, store)
    if weights.exists():
        with np.load(weights, allow_pickle=False) as arrays:
            model.set_weights([arrays[name] for name in arrays.files])
    else:
        np.savez(weights, *model.get_weights())
    restore, losses = make_restore(model, task.hyperparameters, inference="whole"), []
    images = store.as_float(task.resolution, task.eval_fields[0], np.array(store.defocused_indices))
    before, began = restore(images), time.perf_counter()
    for epoch in range(task.epochs):
        history = model.fit(
            epoch_batches(task, store, epoch=epoch), epochs=1, shuffle=False, verbose=0
        )
        losses.append(float(history.history["loss"][-1]))
    seconds = time.perf_counter() - began
    score = rung_score(
        restore,
        store,
        resolution=task.resolution,
        evaluation=task.evaluation,
        fields=task.eval_fields,
        images=8,
        seed=0,
    )
    np.savez(
        result,
        losses=losses,
        ssim=score["ssim"],
        seconds=seconds,
        before=before,
        after=restore(images),
        **{f"weight_{number}": weight for number, weight in enumerate(model.get_weights())},
    )


def compare(first: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Return how far two backends are apart: restorations before and after training, losses, SSIM,
    weights.
    """
    names = [name for name in first if name.startswith("weight_")]
    apart = np.concatenate([(other[name] - first[name]).ravel() for name in names])
    whole = np.concatenate([first[name].ravel() for name in names])
    return {
        "before": float(np.abs(other["before"] - first["before"]).max()),
        "loss": float(np.abs(other["losses"] / first["losses"] - 1).max()),
        "after": float(np.sqrt(np.mean((other["after"] - first["after"]) ** 2))),
        "ssim": float(other["ssim"] - first["ssim"]),
        "weights": float(np.linalg.norm(apart) / np.linalg.norm(whole)),
        "seconds": float(other["seconds"]),
    }


def make_store(folder: Path, networks: dict[str, dict[str, Any]], *, wells: int) -> Store:
    """Simulate images, and prepare them at the sizes of the networks and of the evaluation."""
    bbbc006.simulate(folder / "raw", wells=wells, seed=0)
    sizes = {int(one["image_size"]) for one in networks.values()}
    return prepare(
        DatasetConfig(kind="bbbc006", levels=LEVELS),
        folder / "raw",
        folder / "stores",
        resolutions=[Resolution(size, "antialiased") for size in sorted(sizes)],
    )


def train_in(backend: str, tasks: dict[str, TrialTask], folder: Path) -> Trained:
    """Train every network in a process of its own; return what it left, by network."""
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    described = json.dumps({name: asdict(task) for name, task in tasks.items()})
    command = [sys.executable, __file__, "--train", described, str(folder)]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    left = {}
    for name in tasks:
        with np.load(folder / f"{name}-result.npz", allow_pickle=False) as arrays:
            left[name] = dict(arrays)
    return left


def main() -> None:
    """Run every backend, and print how far each is from the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax", "torch"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--scaled-down",
        action="store_true",
        help="small networks and few images, to see that all of it runs",
    )
    parser.add_argument("--json", type=Path)
    # tasks, and the folder for weights and results: in a process of its own
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        tasks, folder = json.loads(options.train[0]), Path(options.train[1])
        for name, task in tasks.items():
            train(TrialTask(**task), folder / f"{name}.npz", folder / f"{name}-result.npz")
        return
    networks = SCALED_DOWN if options.scaled_down else BASELINES
    wells = SCALED_DOWN_WELLS if options.scaled_down else WELLS
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = make_store(folder, networks, wells=wells)
        tasks = {
            name: make_task(store, hyperparameters, epochs=options.epochs)
            for name, hyperparameters in networks.items()
        }
        first: Trained | None = None
        for backend in options.backends:
            left = train_in(backend, tasks, folder)
            first = first or left
            for name in tasks:
                row = {"baseline": name, "backend": backend, **compare(first[name], left[name])}
                print_row(row, options, first=not rows)
                rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def print_row(row: dict[str, Any], options: argparse.Namespace, *, first: bool) -> None:
    """Print how far a backend is from the first one."""
    if first:
        print(f"against {options.backends[0]}, after {options.epochs} epochs")
        print(
            f"{'':22}{'untrained, max':>15}{'loss, relative':>15}{'images, RMS':>13}"
            f"{'SSIM':>10}{'weights':>10}{'seconds':>9}"
        )
    print(
        f"{row['baseline']:8}{row['backend']:14}{row['before']:15.1e}{row['loss']:15.1e}"
        f"{row['after']:13.1e}{row['ssim']:+10.4f}"
        f"{row['weights']:10.1e}{row['seconds']:9.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
