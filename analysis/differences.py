"""Winners against baselines and against everything else: differences, and how sure they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from analysis.load import Study
from analysis.outcome_table import final_images, ranking
from analysis.statistics import Estimate, estimate, holm
from analysis.verdicts import Judgement, Verdict, judge_difference
from study.record.identities import Phase, Role


@dataclass(frozen=True)
class Difference(Estimate):
    """A candidate's mean SSIM on the test set less the better baseline's; p is corrected after Holm
    for the number of candidates.

    Parameters
    ----------
    candidate, baseline : labels.
    judgement : Judgement
        Of the difference.
    """

    candidate: str
    baseline: str
    judgement: Judgement

    @property
    def text(self) -> str:
        """The judgement in words that name the baseline's rank."""
        joined = {Verdict.BETTER: "than", Verdict.WORSE: "than", Verdict.INCONCLUSIVE: "against"}
        text, verdict = str(self.judgement), self.judgement.verdict
        if verdict not in joined:
            return text
        return text.replace(verdict, f"{verdict} {joined[verdict]} the better baseline", 1)


def differences(study: Study) -> list[Difference]:
    """Compare every confirmed candidate with the better baseline, on the same images; see
    `estimate`.
    """
    if study.history.final_phase != Phase.CONFIRM:
        return []
    images = study.images[
        (study.images["phase"] == Phase.CONFIRM) & (study.images["level"] != study.in_focus)
    ]
    means = images.groupby("label")["ssim"].mean()
    baselines = images[images["role"] == Role.BASELINE]["label"].unique()
    candidates = [label for label in means.index if label not in set(baselines)]
    if not len(baselines) or not candidates:
        return []
    baseline = str(means[baselines].idxmax())
    rows = {label: images[images["label"] == label] for label in (baseline, *candidates)}
    gains = [estimate(rows[label], rows[baseline], test=True) for label in candidates]
    corrected = holm([gain.p for gain in gains])
    return [
        Difference(
            **{**asdict(gain), "p": p},
            candidate=candidate,
            baseline=baseline,
            judgement=judge_difference(gain, p, scaled_down=study.config.scaled_down),
        )
        for candidate, gain, p in zip(candidates, gains, corrected, strict=True)
    ]


def against_each(study: Study, label: str, *, metric: str = "ssim") -> pd.DataFrame:
    """Return one configuration's difference from every other and from unrestored input: on the
    mean, and at every level.

    Paired by well, on the images that both were scored on. Levels are descriptive: their intervals
    are not corrected for their number.

    Returns
    -------
    pandas.DataFrame
        other, level (nan for the mean of all defocused ones), mean, low, high, wells, seeds.
    """
    images = final_images(study)
    ours, rows = images[images["label"] == label], []
    levels: list[float] = [np.nan, *sorted(images["level"].unique())]
    for other in ranking(study)["label"]:
        if other == label:
            continue
        theirs = images[images["label"] == other]
        shared = ours[ours["field"].isin(set(theirs["field"]))]  # a reference may have only some
        for level in levels:
            pair = [
                side if np.isnan(level) else side[side["level"] == level]
                for side in (shared, theirs)
            ]
            rows.append({"other": other, "level": level, **asdict(estimate(*pair, metric=metric))})
    return pd.DataFrame(rows)
