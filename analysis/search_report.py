"""The part of a report about the search: which trials were stopped when, hyperparameter
importance, what quality costs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from statistics import mean

import numpy as np
import optuna
import pandas as pd
from scipy import stats

from analysis import interactive
from analysis.figures import front_figure, objective_name, search_curves
from analysis.load import Study
from analysis.outcome_table import front_table
from analysis.page import Block, Fold, Heading, Paragraph, Picture, Table, picture, source
from analysis.table_texts import column_texts, hyperparameter_text
from study.record.history import Run
from study.record.identities import Phase, TrialId

RUNG_SCORE = "objective"  # the metric of an epoch that decides which trials are stopped
MIN_TRIALS = 8  # with fewer, no importance is estimated


def search_sections(study: Study) -> Iterator[Block]:
    """Yield the sections; nothing if nothing was searched."""
    figure = search_curves(study)
    if figure is None:
        return
    trials = study.trials[study.trials["phase"] == Phase.SEARCH]
    objective = study.config.search.objectives[0]
    caption = (
        "What is missing to an SSIM of 1 after each epoch (up is better), on a sample of validation"
        " images that is the same for all. A line that ends early was stopped."
    )
    if objective != "ssim":
        caption += (
            " What was searched for, and decided which trials were stopped, is:"
            f" {objective_name(objective)}."
        )
    yield Heading("Search", "search")
    moving = interactive.search(study, name="search-curves")
    yield picture(study, figure, "search", caption, interactive=moving)
    for text in (rung_text(study), validation_test_gap_text(study)):
        if text:
            yield Paragraph(text)
    yield from _front(study)
    yield from _hyperparameter_importance(study)
    yield Fold("Every trial", [Table(_trial_rows(trials, objective))])
    rows = _rows_of(study.history.of_phase(Phase.SEARCH))
    text = f"{min(rows)} to {max(rows)}: the trials of the search, their epochs, scores and ends"
    yield source(study, text)


def rung_agreement(study: Study) -> tuple[float, int, float]:
    """Return how well the rung score ranks trials as the full score does, and what it costs.

    Returns
    -------
    tuple
        Spearman's rank correlation over finished trials of the last epoch's rung score with the
        full one (nan under 3 trials), the number of those trials, and the rung score's share of the
        seconds of an epoch.
    """
    history, epochs = study.history, study.epochs
    if RUNG_SCORE not in epochs:
        return np.nan, 0, np.nan
    epochs = epochs[epochs["phase"] == Phase.SEARCH]
    done = [run for run in history.finished(Phase.SEARCH) if run.score is not None]
    if epochs.empty or not done:
        return np.nan, 0, np.nan
    last = [run.epochs[max(run.epochs)].metrics[RUNG_SCORE] for run in done]
    full = [run.objective for run in done]
    rung_seconds, seconds = epochs["rung_seconds"].sum(), epochs["seconds"].sum()
    correlation = float(stats.spearmanr(last, full).statistic) if len(full) > 2 else np.nan
    return correlation, len(full), float(rung_seconds / (seconds + rung_seconds))


def rung_text(study: Study) -> str:
    """Say how well the rung score ranks trials, and what it costs."""
    correlation, count, share = rung_agreement(study)
    if pd.isna(share):
        return ""
    rank = (
        f"Spearman's rank correlation with the full score {correlation:.3f} over {count} finished"
        " trials"
        if count > 2
        else "too few trials to compare it"
    )
    return f"The score after an epoch: {rank}; it took {share:.1%} of an epoch's seconds."


def validation_test_gap_text(study: Study) -> str:
    """Say how much better the confirmed trials looked at their selection than on the test set."""
    history = study.history
    if history.final_phase != Phase.CONFIRM:
        return ""
    selected = {run.trial: run for run in history.finished(Phase.SEARCH)}
    on_test: dict[TrialId, list[float]] = {}
    for run in sorted(history.finished(Phase.CONFIRM), key=lambda run: run.id):
        on_test.setdefault(run.trial, []).append(run.objective)
    words = [
        f"{selected[trial].label} {selected[trial].objective:.4f} and {mean(scores):.4f}"
        for trial, scores in on_test.items()
        if trial in selected
    ]
    if not words:
        return ""
    title = objective_name(study.config.search.objectives[0])
    return (
        f"{title} on validation, where it was selected, and on test, where it was confirmed:"
        f" {'; '.join(words)}."
    )


def front_text(study: Study) -> str:
    """Name the trials on the Pareto front of all objectives; empty if there is one objective."""
    objective, *costs = study.config.search.objectives
    points = front_table(study, costs)
    best = points[points["on_front"]] if costs else points.iloc[:0]
    named = [
        f"{row['label']} ({', '.join(f'{name} {row[name]:.4g}' for name in ('objective', *costs))})"
        for _, row in best.iterrows()
    ]
    return (
        f"Pareto front of {', '.join([objective, *costs])} on validation: {'; '.join(named)}."
        if named
        else ""
    )


def _front(study: Study) -> Iterator[Block]:
    objective, *costs = study.config.search.objectives
    for cost in costs or ["parameters"]:
        points = front_table(study, [cost])
        if len(points) < 3:
            continue
        best = points[points["on_front"]].sort_values(cost)
        yield picture(
            study,
            front_figure(points, cost=cost, objective=objective),
            f"front-{cost}",
            f"Quality against {cost.replace('_', ' ')}: trials that ran to their end, on"
            f" validation. On the front: {', '.join(best['label'])}. No other trial is both better"
            " and cheaper.",
            interactive=interactive.front(points, cost=cost, objective=objective),
        )


def _hyperparameter_importance(study: Study) -> Iterator[Block]:
    """Yield importance, slices and parallel coordinates, from every trial's score at the epoch that
    all have reached.
    """
    common = common_rung(study)
    if common is None:
        return
    rung, epoch = common
    family, trials = _largest_family(rung)
    one_family = optuna.create_study(direction="maximize")
    one_family.add_trials(trials)
    names = sorted(set.intersection(*(set(trial.params) for trial in trials)) - {"family"})
    names = [name for name in names if len({trial.params[name] for trial in trials}) > 1]
    if len(trials) < MIN_TRIALS or len(names) < 2:
        return
    fanova = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importance = optuna.importance.get_param_importances(
            one_family, evaluator=fanova, params=names
        )
        most = list(importance)[:8]
        draw = optuna.visualization
        figures = {
            "importance": draw.plot_param_importances(
                one_family,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
                params=names,
            ),
            "slices": draw.plot_slice(one_family, params=most),
            "parallel": draw.plot_parallel_coordinate(one_family, params=most),
        }
    yield Heading("Hyperparameter importance")
    yield Paragraph(
        f"From the {len(trials)} trials of the family {family} that have reached epoch {epoch}, by"
        f" their score there: {', '.join(f'{n} {v:.2f}' for n, v in importance.items())} (fANOVA:"
        " share of the score's variance).",
        "note",
    )
    for name, figure in figures.items():
        height = max(420, 120 + 22 * len(names)) if name == "importance" else 420
        moving = interactive.as_html(figure, f"hyperparameter-{name}", height=height)
        yield Picture(caption="", png="", interactive=moving)


def _largest_family(rung: optuna.Study) -> tuple[str, list[optuna.trial.FrozenTrial]]:
    """Return the family of networks that most trials have, and those trials."""
    by_family: dict[str, list[optuna.trial.FrozenTrial]] = {}
    for trial in rung.trials:
        by_family.setdefault(trial.params.get("family", ""), []).append(trial)
    family = max(by_family, key=lambda one: len(by_family[one]))
    return family, by_family[family]


def common_rung(study: Study) -> tuple[optuna.Study, int] | None:
    """Return the searched trials as an Optuna study, each with its score at the first rung's epoch,
    and that epoch.
    """
    path = study.folder / "optuna.db"
    if not path.is_file():
        return None
    epoch = min(study.config.search.grace_epochs, study.config.training.epochs)
    scores = {
        run.trial: run.epochs[epoch].metrics[RUNG_SCORE]
        for run in study.history.of_phase(Phase.SEARCH)
        if epoch in run.epochs and RUNG_SCORE in run.epochs[epoch].metrics
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    held = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")
    asked = [
        trial
        for trial in held.get_trials(deepcopy=False)
        if trial.user_attrs.get("label") != "earlier study"
    ]
    rung = optuna.create_study(direction="maximize")
    for number, trial in enumerate(asked):
        if (score := scores.get(TrialId(number))) is not None:
            rung.add_trial(
                optuna.trial.create_trial(
                    params=trial.params, distributions=trial.distributions, value=score
                )
            )
    return (rung, epoch) if rung.trials else None


def _rows_of(runs: Iterable[Run]) -> list[int]:
    """Return the ledger's lines of some runs: their begin, epochs, score and end."""
    events = (
        event
        for run in runs
        for event in (run.begun, *run.epochs.values(), run.score, run.end)
        if event is not None
    )
    return [event.row for event in events]


def _trial_rows(trials: pd.DataFrame, objective: str) -> pd.DataFrame:
    rows = {"trial": trials["label"], "status": trials["status"], "epochs": trials["epoch"]}
    if objective != "ssim":
        title = f"{objective_name(objective)} (validation)"
        rows[title] = column_texts(trials, "objective", "{:.4f}")
    return pd.DataFrame(
        {
            **rows,
            "SSIM (validation)": column_texts(trials, "ssim", "{:.4f}"),
            "parameters": column_texts(trials, "parameters", "{:,.0f}"),
            "GFLOP": column_texts(trials, "gflop", "{:.2f}"),
            "training (s)": column_texts(trials, "training_seconds", "{:.0f}"),
            "hyperparameters": trials["hyperparameters"].map(hyperparameter_text),
            "reason": trials["reason"],
        }
    )
