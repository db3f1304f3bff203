"""How well the score that trials are stopped by ranks them, and what it costs of an epoch.

``python benchmarks/rung_score.py STUDY [--images 8 16 32 64] [--largest 256] [--json FILE]``. Of
every searched trial of a study, the weights that it ended or was stopped with are scored on samples
of the validation images and on all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from study.config import derive_seed
from study.data.store import Resolution, Store
from study.models.autoencoder import build
from study.record.ledger import read_events
from study.trial.checkpoints import STOPPED
from study.trial.evaluation import rung_score
from study.trial.inference import make_restore
from study.trial.threads import limit_threads

TIMES = 3  # a duration is the shortest of so many
LEAST = 5  # trials for a rank correlation


def measure_trial(
    hyperparameters: dict[str, Any],
    header: dict[str, Any],
    folder: Path,
    store: Store,
    counts: list[int],
) -> dict[str, float]:
    """Return the scores of a trial's last weights by number of images, 0 for all, and the seconds
    that each took.
    """
    config = header["config"]
    weighted = config["search"]["level_weights"]
    weights = next(path for path in (folder / "weights.npz", folder / STOPPED) if path.is_file())
    model = build(hyperparameters)
    with np.load(weights, allow_pickle=False) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    fields = [store.fields.index(field) for field in header["split"]["validation"]]
    every = len(fields) * len(store.defocused_indices)
    resolution, restore = (
        Resolution(int(hyperparameters["image_size"]), config["dataset"]["resize"]),
        make_restore(model, hyperparameters, inference="whole"),
    )
    row: dict[str, float] = {}
    for count in [*counts, 0]:
        taken = []
        for _ in range(TIMES if count else 1):
            began = time.perf_counter()
            scores = rung_score(
                restore,
                store,
                resolution=resolution,
                evaluation=Resolution(config["sizes"]["evaluation"], "antialiased"),
                fields=fields,
                images=count or every,
                seed=derive_seed(config["seed"], "rung"),
                objective=config["search"]["objectives"][0],
                weights=weighted and {int(level): weight for level, weight in weighted.items()},
            )
            taken.append(time.perf_counter() - began)
        row |= {f"score {count}": scores["objective"], f"seconds {count}": min(taken)}
    return row


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument(
        "--largest",
        type=int,
        default=256,
        help="networks that see larger images are not scored on all of them here",
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    events = read_events(options.study)
    header = events[0]
    limit_threads(int(header["config"]["resources"]["cpus_per_trial"]))
    store = Store(Path(header["store"]["folder"]))
    configurations = {
        e["trial"]: e["hyperparameters"]
        for e in events
        if e["event"] == "trial" and e["phase"] == "search"
    }
    epochs = [e for e in events if e["event"] == "epoch" and e["phase"] == "search"]
    print_costs(
        pd.DataFrame(
            [{**e["metrics"], "family": configurations[e["trial"]]["family"]} for e in epochs]
        ),
        header["config"]["search"]["rung_images"],
    )
    last = {e["trial"]: e["epoch"] for e in epochs}
    rows = []
    for trial, hyperparameters in configurations.items():
        folder = options.study / "trials" / f"{trial:04d}"
        if int(hyperparameters["image_size"]) > options.largest or not any(
            (folder / name).is_file() for name in ("weights.npz", STOPPED)
        ):
            continue
        row = measure_trial(hyperparameters, header, folder, store, options.images)
        rows.append(
            {"trial": trial, "family": hyperparameters["family"], "epochs": last[trial], **row}
        )
        print(f"trial {trial:04d}: {row['score 0']:.4f}", flush=True)
    table = pd.DataFrame(rows)
    groups = {
        "all": table,
        **{
            f"stopped or ended at epoch {n}": rows
            for n, rows in table.groupby("epochs")
            if len(rows) >= LEAST
        },
    }
    print("\nSpearman rank correlation with the score on all validation images")
    print(
        f"{'weights':32}{'trials':>8}"
        + "".join(f"{count:>8}" for count in options.images)
        + " images"
    )
    for name, group in groups.items():
        ranks = [
            spearmanr(group[f"score {count}"], group["score 0"]).statistic
            for count in options.images
        ]
        print(f"{name:32}{len(group):8}" + "".join(f"{rank:8.3f}" for rank in ranks))
    print(
        f"seconds, median {' ' * 16}"
        + " " * 8
        + "".join(f"{table[f'seconds {count}'].median():8.2f}" for count in options.images)
    )
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=1), encoding="utf-8")


def print_costs(epochs: pd.DataFrame, images: int) -> None:
    """Print what the rung score took of the epochs of the search, as they were run."""
    print(
        f"rung score on {images} images: share of the seconds of an epoch, as the search"
        f" ran\n{'family':10}{'epochs':>8}{'median':>9}{'in all':>9}"
    )
    epochs = epochs.dropna(subset="rung_seconds")
    for family, rows in [*epochs.groupby("family"), ("all", epochs)]:
        share = rows["rung_seconds"] / rows["seconds"]
        overall = rows["rung_seconds"].sum() / rows["seconds"].sum()
        print(f"{family:10}{len(rows):8}{share.median():9.1%}{overall:9.1%}")


if __name__ == "__main__":
    main()
