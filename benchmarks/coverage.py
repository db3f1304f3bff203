"""How often the interval of a difference holds the truth, and how often no difference is called one, on made-up data.

``python benchmarks/coverage.py [--repeats 2000] [--json FILE]``. The made-up SSIM of a field is a well's difficulty, shared by
both configurations, plus a well's own response to each, a field's noise, and one number for each training (the seed).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from analysis.compare import estimate, judge

SETTINGS = [(13, 3), (29, 2), (29, 3), (77, 3)]  # wells, seeds
GAINS = (0.0, 0.004, 0.02)
WELL, RESPONSE, FIELD, SEED = 0.03, 0.01, 0.01, 0.004  # standard deviations of SSIM


def made_up(wells: int, seeds: int, gain: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return the fields of two configurations, the second `gain` better in truth."""
    difficulty = rng.normal(0, WELL, wells)
    rows = []
    for label, mean in (("baseline", 0.8), ("candidate", 0.8 + gain)):
        response = rng.normal(0, RESPONSE / np.sqrt(2), wells)
        for seed in range(seeds):
            values = mean + difficulty + response + rng.normal(0, FIELD, wells) + rng.normal(0, SEED)
            rows.append(pd.DataFrame({"label": label, "replicate": seed, "well": np.arange(wells), "ssim": values}))
    return pd.concat(rows, ignore_index=True)


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    print("wells seeds   gain  interval holds it  called different")
    for wells, seeds in SETTINGS:
        for gain in GAINS:
            rng = np.random.default_rng([wells, seeds, int(gain * 1000)])
            held = called = 0
            for _ in range(options.repeats):
                images = made_up(wells, seeds, gain, rng)
                found = estimate(images[images["label"] == "candidate"], images[images["label"] == "baseline"])
                held += found.low <= gain <= found.high
                called += judge(found, found.p, scaled_down=False).split()[0] in ("better", "worse")
            row = {"wells": wells, "seeds": seeds, "gain": gain, "held": held / options.repeats, "called": called / options.repeats}
            results.append(row)
            print(f"{wells:5} {seeds:5} {gain:6.3f} {row['held']:18.1%} {row['called']:17.1%}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
