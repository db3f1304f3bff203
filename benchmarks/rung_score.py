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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from study.config import derive_seed
from study.data.store import Resolution, Store
from study.models.autoencoder import build
from study.record.events import StudyBegun
from study.record.history import History, Run
from study.record.identities import Phase
from study.record.ledger import read_history
from study.trial.checkpoints import STOPPED, WEIGHTS
from study.trial.evaluation import rung_score
from study.trial.inference import make_restore
from study.trial.threads import limit_threads

TIMES = 3  # a duration is the shortest of so many
LEAST = 5  # trials for a rank correlation


def measure_trial(
    run: Run, study: StudyBegun, folder: Path, store: Store, counts: list[int]
) -> dict[str, float]:
    """Return the scores of a trial's last weights by number of images, 0 for all, and the seconds
    that each took.
    """
    config, hyperparameters = study.config, run.hyperparameters
    weights = next(path for path in (folder / WEIGHTS, folder / STOPPED) if path.is_file())
    model = build(hyperparameters)
    with np.load(weights, allow_pickle=False) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    fields = [store.fields.index(field) for field in study.split["validation"]]
    every = len(fields) * len(store.defocused_indices)
    restore = make_restore(model, hyperparameters, inference="whole")
    row: dict[str, float] = {}
    for count in [*counts, 0]:
        taken = []
        for _ in range(TIMES if count else 1):
            began = time.perf_counter()
            scores = rung_score(
                restore,
                store,
                resolution=Resolution(int(hyperparameters["image_size"]), config.dataset.resize),
                evaluation=Resolution(config.evaluation.resolution, "antialiased"),
                fields=fields,
                images=count or every,
                seed=derive_seed(config.seed, "rung"),
                objective=config.search.objectives[0],
                weights=config.search.level_weights,
            )
            taken.append(time.perf_counter() - began)
        row |= {f"score {count}": scores["objective"], f"seconds {count}": min(taken)}
    return row


def measure_study(
    history: History, folder: Path, counts: list[int], *, largest: int
) -> pd.DataFrame:
    """Score the trials of a study's search that left weights and see images of at most so many
    pixels a side.

    Returns
    -------
    pandas.DataFrame
        trial, family, epochs, and what `measure_trial` returns.
    """
    store = Store(Path(history.study.store.folder))
    rows = []
    for run in history.of_phase(Phase.SEARCH):
        place = folder / "trials" / run.trial.file_name
        kept = any((place / name).is_file() for name in (WEIGHTS, STOPPED))
        if int(run.hyperparameters["image_size"]) > largest or not kept:
            continue
        row = measure_trial(run, history.study, place, store, counts)
        family, epochs = run.hyperparameters["family"], max(run.epochs)
        rows.append({"trial": run.trial.value, "family": family, "epochs": epochs, **row})
        print(f"{run.label}: {row['score 0']:.4f}", flush=True)
    return pd.DataFrame(rows)


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
    history = read_history(options.study)
    limit_threads(history.study.config.resources.cpus_per_trial)
    print_costs(history)
    table = measure_study(history, options.study, options.images, largest=options.largest)
    if table.empty:
        raise SystemExit(f"no trial of {options.study} left weights that can be scored here")
    print_ranks(table, options.images)
    if options.json:
        options.json.write_text(table.to_json(orient="records", indent=1), encoding="utf-8")


def print_ranks(table: pd.DataFrame, counts: list[int]) -> None:
    """Print how the scores on samples rank the trials, and what they take."""
    groups = {
        "all": table,
        **{
            f"stopped or ended at epoch {n}": rows
            for n, rows in table.groupby("epochs")
            if len(rows) >= LEAST
        },
    }
    print("\nSpearman rank correlation with the score on all validation images")
    print(f"{'weights':32}{'trials':>8}" + "".join(f"{n:>8}" for n in counts) + " images")
    for name, group in groups.items():
        ranks = [spearmanr(group[f"score {n}"], group["score 0"]).statistic for n in counts]
        print(f"{name:32}{len(group):8}" + "".join(f"{rank:8.3f}" for rank in ranks))
    medians = "".join(f"{table[f'seconds {n}'].median():8.2f}" for n in counts)
    print(f"{'seconds, median':40}{medians}")


def print_costs(history: History) -> None:
    """Print what the rung score took of the epochs of the search, as they were run."""
    images = history.study.config.search.rung_images
    print(
        f"rung score on {images} images: share of the seconds of an epoch, as the search"
        f" ran\n{'family':10}{'epochs':>8}{'median':>9}{'in all':>9}"
    )
    epochs = pd.DataFrame(
        [
            {**epoch.metrics, "family": run.hyperparameters["family"]}
            for run in history.of_phase(Phase.SEARCH)
            for epoch in run.epochs.values()
        ]
    ).dropna(subset="rung_seconds")
    for family, rows in [*epochs.groupby("family"), ("all", epochs)]:
        share = rows["rung_seconds"] / rows["seconds"]
        overall = rows["rung_seconds"].sum() / rows["seconds"].sum()
        print(f"{family:10}{len(rows):8}{share.median():9.1%}{overall:9.1%}")


if __name__ == "__main__":
    main()
