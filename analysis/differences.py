"""Winners against baselines and against everything else: differences, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.collapse import collapse_text
from analysis.endpoint import Endpoint, endpoint_tables, primary_endpoint
from analysis.final_scores import final_images
from analysis.load import Study
from analysis.outcome_table import ranking
from analysis.statistics import Estimate, estimate, holm
from analysis.verdicts import MARGINS, Judgement, Verdict, judge_difference
from study.record.identities import Phase, Role


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """A candidate's primary endpoint on the test set less the better baseline's; p is corrected
    after Holm for the number of candidates.

    Parameters
    ----------
    candidate, baseline : str
        Labels.
    endpoint : Endpoint
        The primary endpoint.
    margin : float
        A difference of less, either way, counts as none.
    judgement : Judgement
        Of the difference.
    secondary : mapping
        Metric (ssim, psnr) -> the difference of its mean over images, with its interval; without a
        verdict. The primary endpoint is not among them.
    """

    candidate: str
    baseline: str
    endpoint: Endpoint
    margin: float
    judgement: Judgement
    secondary: Mapping[str, Estimate]

    @property
    def text(self) -> str:
        """The judgement in words that name the baseline's rank."""
        joined = {
            Verdict.BETTER: "than",
            Verdict.WORSE: "than",
            Verdict.SAME: "as",
            Verdict.INCONCLUSIVE: "against",
        }
        text, verdict = str(self.judgement), self.judgement.verdict
        if verdict not in joined:
            return text
        words = f"{verdict} {joined[verdict]} the better baseline"
        if verdict == Verdict.SAME:
            words = f"the {words}"
        return text.replace(verdict, words, 1)


def margin_of(study: Study) -> float:
    """Return the difference in the primary endpoint that counts as none: `confirm.margin`, or the
    metric's.
    """
    margin = study.config.confirm.margin
    return MARGINS[primary_endpoint(study).metric] if margin is None else margin


@lru_cache(maxsize=8)
def differences(study: Study) -> tuple[Difference, ...]:
    """Compare every confirmed candidate with the better baseline by the primary endpoint, on the
    same images; see `estimate`.
    """
    if study.history.final_phase != Phase.CONFIRM:
        return ()
    images = final_images(study)
    trained = images[images["phase"] == Phase.CONFIRM]
    roles = trained.drop_duplicates("label").set_index("label")["role"]
    baselines = [label for label in roles.index if roles[label] == Role.BASELINE]
    candidates = sorted(set(roles.index) - set(baselines))
    if not baselines or not candidates:
        return ()
    tables = endpoint_tables(study)
    means = {label: estimate(tables[label], metric="endpoint").mean for label in baselines}
    baseline = max(sorted(baselines), key=lambda label: means[label])
    gains = [
        estimate(tables[label], tables[baseline], metric="endpoint", test=True)
        for label in candidates
    ]
    corrected = holm([gain.p for gain in gains])
    rows = {label: trained[trained["label"] == label] for label in (baseline, *candidates)}
    return tuple(
        _difference(study, rows[candidate], rows[baseline], gain=gain, p=p)
        for candidate, gain, p in zip(candidates, gains, corrected, strict=True)
    )


def _difference(
    study: Study, ours: pd.DataFrame, theirs: pd.DataFrame, *, gain: Estimate, p: float
) -> Difference:
    endpoint, margin = primary_endpoint(study), margin_of(study)
    candidate, baseline = str(ours["label"].iloc[0]), str(theirs["label"].iloc[0])
    collapses = [collapse_text(study, label) for label in (candidate, baseline)]
    return Difference(
        **{**vars(gain), "p": p},
        candidate=candidate,
        baseline=baseline,
        endpoint=endpoint,
        margin=margin,
        judgement=judge_difference(
            gain,
            p,
            margin=margin,
            unit=endpoint.unit,
            scaled_down=study.config.scaled_down,
            cautions=[text for text in collapses if text],
        ),
        secondary={
            metric: estimate(ours, theirs, metric=metric)
            for metric in ("ssim", "psnr")
            if metric != endpoint.objective or endpoint.weights
        },
    )


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
