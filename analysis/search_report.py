"""The part of a report that tells of the search: who was stopped when, what mattered, what quality
costs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import optuna
import pandas as pd
from scipy import stats

from analysis import html, interactive
from analysis.compare import final_phase, front
from analysis.figures import front_figure, objective_name, search_curves
from analysis.load import Study

MIN_TRIALS = 8  # fewer do not tell what mattered


def search_sections(study: Study) -> Iterator[str]:
    """Yield the sections, as HTML; nothing if nothing was searched."""
    trials = study.trials[study.trials["phase"] == "search"]
    figure = search_curves(study)
    if trials.empty or figure is None:
        return
    yield html.heading("Search", "search")
    caption = (
        "What is missing to an SSIM of 1 after each epoch (up is better), on a sample of validation"
        " images that is the same for all. A line that ends early was stopped."
    )
    if (objective := study.header["config"]["search"]["objectives"][0]) != "ssim":
        caption += (
            f" What was searched for, and decided who was stopped, is: {objective_name(objective)}."
        )
    yield html.figure(
        study,
        figure,
        "search",
        caption,
        interactive=interactive.search(study, name="search-curves"),
    )
    if text := rung_text(study):
        yield html.paragraph(text)
    if text := validation_test_gap_text(study):
        yield html.paragraph(text)
    yield from _front(study)
    yield from _hyperparameter_importance(study)
    yield html.fold(
        "Every trial",
        html.table(_trial_rows(trials, study.header["config"]["search"]["objectives"][0])),
    )
    yield html.source_rows(
        study,
        f"{trials['row'].min()} to {_last_row(study)}: the trials of the search, their epochs,"
        " scores and ends",
    )


def rung_agreement(study: Study) -> tuple[float, int, float]:
    """Return how well the rung score ranks trials as the full score does, and what it costs.

    Returns
    -------
    tuple
        Spearman's rank correlation over finished trials of the last epoch's rung score with the
        full one (nan under 3 trials), the number of those trials, and the rung score's share of the
        seconds of an epoch.
    """
    epochs = (
        study.epochs[(study.epochs["phase"] == "search")]
        if "objective" in study.epochs
        else study.epochs.iloc[:0]
    )
    done = study.trials[
        (study.trials["phase"] == "search") & (study.trials["status"] == "finished")
    ]
    if epochs.empty or done.empty:
        return float("nan"), 0, float("nan")
    last = epochs.sort_values("epoch").groupby("trial").last()["objective"]
    share = float(
        epochs["rung_seconds"].sum() / (epochs["seconds"].sum() + epochs["rung_seconds"].sum())
    )
    full = done.set_index("trial")["objective"]
    agreed = (
        float(stats.spearmanr(last.loc[full.index], full).statistic)
        if len(full) > 2
        else float("nan")
    )
    return agreed, len(full), share


def rung_text(study: Study) -> str:
    """Say how good and how dear the rung score is."""
    agreed, count, share = rung_agreement(study)
    if pd.isna(share):
        return ""
    rank = (
        f"Spearman's rank correlation with the full score {agreed:.3f} over {count} finished trials"
        if count > 2
        else "too few trials to compare it"
    )
    return f"The score after an epoch: {rank}; it took {share:.1%} of an epoch's seconds."


def validation_test_gap_text(study: Study) -> str:
    """Say how much better the confirmed trials looked at their selection than on the test set."""
    if final_phase(study) != "confirm":
        return ""
    objective = study.header["config"]["search"]["objectives"][0]
    chosen = study.trials[study.trials["status"] == "finished"]
    search = {row["trial"]: row for _, row in chosen[chosen["phase"] == "search"].iterrows()}
    confirmed = chosen[chosen["phase"] == "confirm"].groupby("trial")["objective"].mean()
    words = [
        f"{search[trial]['label']} {search[trial]['objective']:.4f} and {score:.4f}"
        for trial, score in confirmed.items()
        if trial in search
    ]
    title = objective_name(objective)
    return (
        f"{title} on validation, where it was selected, and on test, where it was confirmed:"
        f" {'; '.join(words)}."
        if words
        else ""
    )


def front_text(study: Study) -> str:
    """Name the trials on the Pareto front of all objectives; empty if there is one objective."""
    objective, *costs = study.header["config"]["search"]["objectives"]
    points = front(study, costs=costs)
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


def _front(study: Study) -> Iterator[str]:
    objective, *costs = study.header["config"]["search"]["objectives"]
    for cost in costs or ["parameters"]:
        points = front(study, costs=[cost])
        if len(points) < 3:
            continue
        best = points[points["on_front"]].sort_values(cost)
        caption = (
            f"Quality against {cost.replace('_', ' ')}: trials that ran to their end, on"
            f" validation. On the front: {', '.join(best['label'])}. No other trial is both better"
            " and cheaper."
        )
        still = front_figure(points, cost=cost, objective=objective)
        yield html.figure(
            study,
            still,
            f"front-{cost}",
            caption,
            interactive=interactive.front(points, cost=cost, objective=objective),
        )


def _hyperparameter_importance(study: Study) -> Iterator[str]:
    """Yield importance, slices and parallel coordinates, from every trial's score at the epoch that
    all have reached.
    """
    found = common_rung(study)
    if found is None:
        return
    rung, epoch = found
    family = max(
        {trial.params.get("family", "") for trial in rung.trials},
        key=lambda one: sum(t.params.get("family") == one for t in rung.trials),
    )
    within = [trial for trial in rung.trials if trial.params.get("family") == family]
    chosen = optuna.create_study(direction="maximize")
    chosen.add_trials(within)
    names = sorted(set.intersection(*(set(trial.params) for trial in within)) - {"family"})
    names = [name for name in names if len({trial.params[name] for trial in within}) > 1]
    if len(within) < MIN_TRIALS or len(names) < 2:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importance = optuna.importance.get_param_importances(
            chosen, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0), params=names
        )
        shown = list(importance)[:8]
        figures = {
            "importance": optuna.visualization.plot_param_importances(
                chosen, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0), params=names
            ),
            "slices": optuna.visualization.plot_slice(chosen, params=shown),
            "parallel": optuna.visualization.plot_parallel_coordinate(chosen, params=shown),
        }
    yield "<h3>What mattered</h3>"
    yield html.paragraph(
        f"From the {len(within)} trials of the family {family} that have reached epoch {epoch}, by"
        f" their score there: {', '.join(f'{n} {v:.2f}' for n, v in importance.items())} (fANOVA:"
        " share of the score's variance).",
        "note",
    )
    for name, figure in figures.items():
        height = max(420, 120 + 22 * len(names)) if name == "importance" else 420
        drawn = interactive.as_html(figure, f"mattered-{name}", height=height)
        yield f'<div class="interactive">{drawn}</div>'


def common_rung(study: Study) -> tuple[optuna.Study, int] | None:
    """Return the searched trials as an Optuna study, each with its score at the first rung's epoch,
    and that epoch.
    """
    path = study.folder / "optuna.db"
    if not path.is_file() or "objective" not in study.epochs:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    held = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")
    epoch = min(
        int(study.header["config"]["search"]["grace_epochs"]),
        int(study.header["config"]["training"]["epochs"]),
    )
    scores = study.epochs[
        (study.epochs["phase"] == "search") & (study.epochs["epoch"] == epoch)
    ].set_index("trial")["objective"]
    rung = optuna.create_study(direction="maximize")
    own = [
        trial
        for trial in held.get_trials(deepcopy=False)
        if trial.user_attrs.get("label") != "earlier study"
    ]
    for number, trial in enumerate(own):
        if number in scores.index:
            rung.add_trial(
                optuna.trial.create_trial(
                    params=trial.params,
                    distributions=trial.distributions,
                    value=float(scores[number]),
                )
            )
    return (rung, epoch) if rung.trials else None


def _last_row(study: Study) -> int:
    """Return the last ledger row that belongs to the search."""
    searched = (
        study.images[study.images["phase"] == "search"]["row"]
        if len(study.images)
        else study.images
    )
    rows = [
        study.trials[study.trials["phase"] == "search"]["row"].max(),
        study.epochs[study.epochs["phase"] == "search"]["row"].max(),
    ]
    return int(max([*rows, *([searched.max()] if len(searched) else [])]))


def _trial_rows(trials: pd.DataFrame, objective: str) -> pd.DataFrame:
    def texts(column: str, text: str) -> pd.Series:
        if column not in trials:
            return pd.Series("", index=trials.index)
        return trials[column].map(lambda value: "" if pd.isna(value) else text.format(value))

    return pd.DataFrame(
        {
            "trial": trials["label"],
            "status": trials["status"],
            "epochs": trials["epoch"],
            **(
                {}
                if objective == "ssim"
                else {f"{objective_name(objective)} (validation)": texts("objective", "{:.4f}")}
            ),
            "SSIM (validation)": texts("ssim", "{:.4f}"),
            "parameters": texts("parameters", "{:,.0f}"),
            "GFLOP": texts("gflop", "{:.2f}"),
            "training (s)": texts("training_seconds", "{:.0f}"),
            "hyperparameters": (
                trials["hyperparameters"].map(
                    lambda hyperparameters: ", ".join(
                        f"{name.replace('_', ' ')} {value}"
                        for name, value in hyperparameters.items()
                    )
                )
            ),
            "reason": trials["reason"],
        }
    )
