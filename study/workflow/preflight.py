"""What must hold before a study begins or goes on; a `StudyError` says what does not, and what to
do, before anything is spent.
"""

from __future__ import annotations

from typing import Any

from study.config import StudyConfig
from study.data.splits import Split
from study.data.store import Store
from study.errors import StudyError, raise_all
from study.record.ledger import FILE_NAME, check_place
from study.tune.proposals import find_initial_configurations, space_of
from study.tune.resume import warm_trials
from study.workflow.confirmation import find_comparator

OF_EVERY_LEVEL = ("penalized_", "worst_")  # objectives that one level can decide


def check_folder(config: StudyConfig, *, resume: bool) -> None:
    """Raise a `StudyError` if there is a study where a new one shall be, or none to go on with, or
    no place for its record.
    """
    held = (config.folder / FILE_NAME).exists()
    if held and not resume:
        raise StudyError(
            f"there is a study in {config.folder} already. To go on with it: python study/run.py"
            f" --resume {config.folder}. To add to it: --extend {config.folder} --search.trials N."
            " To run another: choose another --name"
        )
    if resume and not held:
        raise StudyError(f"no study can be taken up in {config.folder}: it holds no {FILE_NAME}")
    check_place(config.folder)


def check_beginning(config: StudyConfig, store: Store) -> None:
    """Raise what would otherwise be found out when the search begins, or after it."""
    if config.search.space != "none":
        space = space_of(config)
        find_initial_configurations(config, space)
        warm_trials(config, store)
    for name in config.confirm.comparators:
        find_comparator(config, name)


def check_sides(store: Store, split: Split, config: StudyConfig) -> None:
    """Raise a `StudyError` if nothing is there to search on, or to restore, or if a search would
    not see what it is asked to look at.
    """
    if config.search.space != "none" and not split.validation:
        raise StudyError(
            "the validation side has no field: use more wells or a larger dataset.validation"
        )
    if not store.defocused_indices:
        raise StudyError(
            f"the images hold no level but the in-focus one, {store.layout.in_focus_level}: nothing"
            " is there to restore"
        )
    objective, levels, images = (
        config.search.objectives[0],
        len(store.defocused_indices),
        config.search.rung_images,
    )
    if (
        config.search.space != "none"
        and config.search.scheduler != "none"
        and objective.startswith(OF_EVERY_LEVEL)
        and images < levels
    ):
        raise StudyError(
            f"{objective} looks at every level, but the score after an epoch, of {images} images,"
            f" would leave out {levels - images} of the {levels} levels: take search.rung_images"
            f" {levels} or more, or search.scheduler none"
        )


def check_images(events: list[dict[str, Any]], store: Store, other: Store | None) -> None:
    """Raise a `StudyError` if the images are not those that the ledger's numbers were made with."""
    for kind, now in (("study", store), ("transfer_set", other)):
        held = next((event["store"] for event in events if event["event"] == kind), None)
        if held and now is not None and held["fingerprint"] != now.fingerprint:
            raise StudyError(
                f"the images in {now.description['source']} are not those that this study was begun"
                f" with ({held['source']}): the store's fingerprint is {now.fingerprint[:12]}, the"
                f" ledger's {held['fingerprint'][:12]}. Bring them back, or run a study of another"
                " name"
            )


def check_budgets(events: list[dict[str, Any]], config: StudyConfig) -> None:
    """Raise a `StudyError` if networks would be compared that were given different budgets."""
    if not any(event["event"] == "trial_end" and event["phase"] == "confirm" for event in events):
        return
    before, now = (
        next(
            event["config"] for event in reversed(events) if event["event"] in ("study", "resumed")
        ),
        config.to_dict(),
    )
    fixed = ["confirm.seconds"]
    if (
        config.confirm.seconds is not None
    ):  # seconds become epochs by a step that was timed with these
        fixed += ["resources.cpus_per_trial", "resources.gpus_per_trial"]
    changed = [
        f"{key} was {before[part].get(name)}, and is to be {now[part][name]}"
        for key, (part, name) in ((key, key.split(".")) for key in fixed)
        if before[part].get(name) != now[part][name]
    ]
    raise_all(
        changed,
        heading=(
            "Networks have been confirmed already, and are only comparable with others that get the"
            " same"
        ),
    )
