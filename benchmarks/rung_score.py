"""How well the score that trials are stopped by ranks them, and what it costs of an epoch.

``python benchmarks/rung_score.py STUDY [--images 8 16 32 64] [--largest 256] [--json FILE]``. Of every searched trial of a study, the
weights that it ended or was stopped with are scored on samples of the validation images and on all of them.
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
from study.data.store import Grid, Store
from study.models.autoencoder import build
from study.record.ledger import read_events
from study.trial.evaluation import rung_score
from study.trial.training import STOPPED, limit_threads, restorer

TIMES = 3  # a duration is the shortest of so many


def measure_trial(trial: dict[str, Any], header: dict[str, Any], folder: Path, store: Store, counts: list[int]) -> dict[str, float]:
    """Return the scores of a trial's last weights by number of images, 0 for all, and the seconds that each took."""
    config, point = header["config"], trial["hyperparameters"]
    weights = next(path for path in (folder / "weights.npz", folder / STOPPED) if path.is_file())
    model = build(point)
    with np.load(weights, allow_pickle=False) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    fields = [store.fields.index(field) for field in header["split"]["validation"]]
    every = len(fields) * len(store.defocused_indices)
    grid, restore = Grid(int(point["image_size"]), config["dataset"]["resize"]), restorer(model, point, inference="whole")
    row: dict[str, float] = {}
    for count in [*counts, 0]:
        taken = []
        for _ in range(TIMES if count else 1):
            began = time.perf_counter()
            scores = rung_score(
                restore, store, grid=grid, common=Grid(config["sizes"]["common"], "antialiased"), fields=fields, images=count or every,
                seed=derive_seed(config["seed"], "rung"), objective=config["search"]["objectives"][0],
                weights=config["search"]["level_weights"],
            )  # fmt: skip
            taken.append(time.perf_counter() - began)
        row |= {f"score {count}": scores["objective"], f"seconds {count}": min(taken)}
    return row


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--largest", type=int, default=256, help="leave out networks that see larger images than this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    events = read_events(options.study)
    header = events[0]
    limit_threads(int(header["config"]["resources"]["cpus_per_trial"]))
    store = Store(Path(header["store"]["folder"]))
    rung = {(e["trial"], e["epoch"]): e["metrics"] for e in events if e["event"] == "epoch" and e["phase"] == "search"}
    rows = []
    for trial in (event for event in events if event["event"] == "trial" and event["phase"] == "search"):
        folder = options.study / "trials" / f"{trial['trial']:04d}"
        if int(trial["hyperparameters"]["image_size"]) > options.largest or not any(
            (folder / n).is_file() for n in ("weights.npz", STOPPED)
        ):
            continue
        epochs = [metrics["seconds"] for (number, _), metrics in rung.items() if number == trial["trial"]]
        row = measure_trial(trial, header, folder, store, options.images)
        rows.append({"trial": trial["trial"], "family": trial["hyperparameters"]["family"], "epoch": float(np.median(epochs)), **row})
        print(f"trial {trial['trial']:04d}: {row['score 0']:.4f}", flush=True)
    table = pd.DataFrame(rows)
    print(f"\n{len(table)} configurations\nimages  Spearman with all  median share of an epoch  largest")
    for count in options.images:
        share = table[f"seconds {count}"] / table["epoch"]
        print(f"{count:6} {spearmanr(table[f'score {count}'], table['score 0']).statistic:18.3f} {share.median():24.1%} {share.max():8.1%}")
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
