"""What must hold before a study begins or is resumed; a `StudyError` says what does not, and what
to do, before anything is spent.
"""

from __future__ import annotations

from pathlib import Path

from search_spaces.comparators import TUNED
from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import FORMAT, Store, format_of
from study.errors import StudyError, raise_all
from study.programs import call_run
from study.record.history import History
from study.record.identities import Phase
from study.record.ledger import FILE_NAME, check_place, is_written, read_history
from study.tune.proposals import find_initial_configurations, space_of
from study.tune.resume import warm_trials
from study.workflow.confirmation import find_comparator

OF_EVERY_LEVEL = ("penalized_", "worst_")  # objectives that one level can decide


def check_folder(config: StudyConfig, *, resume: bool) -> History | None:
    """Return what a study to be resumed has learned; None for a new one.

    Raises
    ------
    StudyError
        If there is a study where a new one shall be, none to be resumed, one that another process
        runs or whose images another version prepared, or no place for its record.
    """
    held = (config.folder / FILE_NAME).exists()
    if held and not resume:
        raise StudyError(
            f"there is a study in {config.folder} already. To resume it: {call_run()} --resume"
            f" {config.folder}. To add to it: --extend {config.folder} --search.trials N."
            " To run another: choose another --name"
        )
    if resume and not held:
        raise StudyError(f"no study can be resumed in {config.folder}: it holds no {FILE_NAME}")
    check_place(config.folder)
    if not held:
        return None
    if is_written(config.folder):
        raise StudyError(f"another process is running the study in {config.folder}")
    history = read_history(config.folder)
    _check_store_format(history)
    return history


def check_new(config: StudyConfig, store: Store) -> None:
    """Raise what would otherwise be noticed when the search begins, or after it."""
    if config.search.space != "none":
        find_initial_configurations(config, space_of(config))
        warm_trials(config, store)
    for name in config.confirm.comparators:
        if name not in TUNED:  # they follow the winner
            find_comparator(config, name)


def check_resumed(history: History, config: StudyConfig, store: Store, other: Store | None) -> None:
    """Raise a `StudyError` if a study would be resumed on other images, or with other budgets."""
    _check_images(history, store, other)
    check_budgets(history, config)


def check_sides(store: Store, split: Split, config: StudyConfig) -> None:
    """Raise a `StudyError` if nothing is there to search on, or to restore, or if a search would
    not see what it is asked to look at.
    """
    searches = config.search.space != "none"
    if searches and not split.validation:
        raise StudyError(
            "the validation side has no field: use more wells or a larger dataset.validation"
        )
    if not store.defocused_indices:
        raise StudyError(
            f"the images hold no level but the in-focus one, {store.layout.in_focus_level}: nothing"
            " is there to restore"
        )
    objective = config.search.objectives[0]
    levels, images = len(store.defocused_indices), config.search.rung_images
    sampled = searches and config.search.scheduler != "none"
    if sampled and objective.startswith(OF_EVERY_LEVEL) and images < levels:
        raise StudyError(
            f"{objective} looks at every level, but the score after an epoch, of {images} images,"
            f" would leave out {levels - images} of the {levels} levels: take search.rung_images"
            f" {levels} or more, or search.scheduler none"
        )


def _check_store_format(history: History) -> None:
    """Raise a `StudyError` if the images were prepared by another version, with other numbers."""
    transfer = history.transfer_set
    held = [history.study.store, *([transfer.store] if transfer else [])]
    others = [
        f"{facts.folder} in the store format {written}, this one uses {FORMAT}"
        for facts in held
        if (written := format_of(Path(facts.folder))) not in (None, FORMAT)
    ]
    raise_all(
        others,
        heading=(
            "Another version of this program prepared the images of this study, and this one's"
            " differ: resume it with that version, or run a study of another name"
        ),
    )


def _check_images(history: History, store: Store, other: Store | None) -> None:
    """Raise a `StudyError` if the images are not those that the ledger's numbers were made with."""
    transfer = history.transfer_set
    held = [(history.study.store, store), (transfer.store if transfer else None, other)]
    for facts, now in held:
        if facts is not None and now is not None and facts.fingerprint != now.fingerprint:
            raise StudyError(
                f"the images in {now.description['source']} are not those that this study was"
                f" begun with ({facts.source}): the store's fingerprint is"
                f" {now.fingerprint[:12]}, the ledger's {facts.fingerprint[:12]}. Bring them back,"
                " resume it with the version that prepared them, or run a study of another name"
            )


def check_budgets(history: History, config: StudyConfig) -> None:
    """Raise a `StudyError` if networks would be compared that were given different budgets."""
    if not history.ended_runs(Phase.CONFIRM):
        return
    # a margin that is chosen after p is no margin
    fixed = ["confirm.seconds", "confirm.steps", "confirm.splits", "confirm.margin"]
    if max(config.confirm.splits, history.config.confirm.splits) > 1:
        fixed.append("confirm.replicates")  # which split a replicate is of hangs on it
    # seconds become steps by a step that was timed with these
    if config.confirm.seconds is not None:
        fixed += ["resources.cpus_per_trial", "resources.gpus_per_trial"]
    changed = [
        f"{key} was {before}, and is to be {now}"
        for key in fixed
        if (before := _value(history.config, key)) != (now := _value(config, key))
    ]
    raise_all(
        changed,
        heading=(
            "Networks have been confirmed already, and are only comparable with others that get the"
            " same, judged as was said before"
        ),
    )


def _value(config: StudyConfig, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)
