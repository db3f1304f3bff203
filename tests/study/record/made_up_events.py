"""Events of studies that never were, for the tests of the record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.record.events import (
    EpochEnded,
    Event,
    NumbersDiffered,
    ReferenceScored,
    StepTimed,
    StitchingMeasured,
    StudyBegun,
    StudyEnded,
    StudyResumed,
    TestOpened,
    TransferReferenceScored,
    TransferScored,
    TransferSet,
    TrialBegun,
    TrialEnded,
    TrialPlaced,
    TrialScored,
)
from study.record.facts import Environment, ImageFacts, StoreFacts
from study.record.identities import (
    Phase,
    Reference,
    ReferenceRole,
    Role,
    RunId,
    TrialId,
    TrialStatus,
)
from study.record.ledger import Ledger

LEVELS = [0, 16, 33]
UNRESTORED = Reference(ReferenceRole.UNRESTORED_INPUT, "validation")
STORE = StoreFacts(
    folder="/stores/made-up",
    fingerprint="f" * 64,
    kind="bbbc006",
    source="/data",
    channel="w1",
    levels=LEVELS,
    resolutions=["64 antialiased"],
)
IMAGES = ImageFacts(
    title="BBBC006",
    simulated="by a test",
    in_focus_level=16,
    level_title="plane",
    level_axis="plane z",
    level_symbol="z",
    shown_levels=[0, 16],
    well_title="well",
    fields={"train": 3, "validation": 2, "test": 2},
    wells={"train": 2, "validation": 1, "test": 1},
)
ENVIRONMENT = Environment(
    command=["run.py"],
    python="3.11",
    platform="Linux",
    processor="a processor",
    cpus=2,
    backend="tensorflow",
    packages={"keras": "3", "torch": None},
    git=None,
)


def search(number: int, replicate: int = 0) -> RunId:
    """A run of the search."""
    return RunId(Phase.SEARCH, TrialId(number), replicate)


def confirm(trial: int | str, replicate: int = 0) -> RunId:
    """A run of the confirmation."""
    return RunId(Phase.CONFIRM, TrialId.parse(trial), replicate)


def key(run: RunId) -> dict[str, Any]:
    """What the events of a run have in common."""
    return {"phase": run.phase, "trial": run.trial, "replicate": run.replicate}


def study(name: str = "made-up", **config: Any) -> StudyBegun:
    """The first event; its `uid` is the name."""
    return StudyBegun(
        uid=name,
        name=name,
        config=StudyConfig(**{"scaled_down": True, **config}),
        store=STORE,
        images=IMAGES,
        split={"train": ["a"], "validation": ["b"], "test": ["c"]},
        environment=ENVIRONMENT,
    )


def resumed(run: int, **config: Any) -> StudyResumed:
    """A resumption."""
    return StudyResumed(run=run, config=StudyConfig(**config), environment=ENVIRONMENT)


def begun(run: RunId, role: Role | None = None, **changes: Any) -> TrialBegun:
    """A run begins; trial 0 is the baseline, one with a name a comparator."""
    if role is None:
        role = Role.COMPARATOR if run.trial.name else Role.SEARCHED
        role = Role.BASELINE if run.trial.number == 0 else role
    held: dict[str, Any] = {
        "label": f"trial {run.trial}",
        "hyperparameters": {"family": "whole", "depth": 1, "learning_rate": 1.0, "skip": True},
        "seed": 1,
        "threads": 1,
        "eval_split": "validation" if run.phase == Phase.SEARCH else "test",
        "epochs": 2,
        "folder": "x",
    }
    return TrialBegun(**key(run), role=role, **held | changes)


def epoch(run: RunId, number: int, objective: float = 0.5, **metrics: float) -> EpochEnded:
    """An epoch ends."""
    return EpochEnded(
        **key(run),
        epoch=number,
        metrics=metrics or {"loss": 1 / number, "seconds": 1.5},
        cost={"parameters": 7.0},
        objective=objective,
    )


def table() -> dict[str, Any]:
    """A score of two fields at three levels; the second level is in focus."""
    return {
        "levels": LEVELS,
        "fields": ["b1", "b2"],
        "wells": ["b", "b"],
        "evaluation": {
            "ssim": [[0.4, 1.0, 0.6], [0.6, 1.0, math.nan]],
            "psnr": [[20.0, math.inf, 21.0], [20.0, math.inf, 21.0]],
        },
        "own": {"ssim": [[0.4, 1.0, 0.6], [0.6, 1.0, 0.6]]},
    }


def scored(
    run: RunId, objective: float = 0.55, *, cost: Mapping[str, float] | None = None, **changes: Any
) -> TrialScored:
    """A run is scored."""
    held = {
        **table(),
        "eval_split": "validation" if run.phase == Phase.SEARCH else "test",
        "summary": {"ssim": objective, "objective": objective},
    }
    return TrialScored(**key(run), cost=dict(cost or {"parameters": 7.0}), **held | changes)


def ended(
    run: RunId, status: TrialStatus = TrialStatus.FINISHED, reason: str = "", *, epoch: int = 2
) -> TrialEnded:
    """A run ends."""
    return TrialEnded(**key(run), status=status, reason=reason, epoch=epoch)


def finished(
    run: RunId, objective: float, *, cost: Mapping[str, float] | None = None, **changes: Any
) -> list[Event]:
    """All events of a run that ends with a score."""
    return [
        begun(run, **changes),
        epoch(run, 1, objective / 2),
        epoch(run, 2, objective),
        scored(run, objective, cost=cost),
        ended(run),
    ]


def reference(which: Reference = UNRESTORED, **changes: Any) -> ReferenceScored:
    """A reference is scored."""
    held = {**table(), "eval_split": which.split, "summary": {"ssim": 0.55}}
    return ReferenceScored(reference=which, **held | changes)


def one_of_each_kind() -> Iterator[Event]:
    """Yield an event of every kind, as a study could write them."""
    run, named = search(0), confirm("residual_unet", 1)
    yield study()
    yield resumed(1, seed=3)
    yield from (begun(run), begun(named))
    yield TrialPlaced(**key(run), node="node", pid=7, gpus=[0, "GPU-1"], gpu_share=0.5)
    yield from (epoch(run, 1), scored(run), scored(named), ended(run))
    yield NumbersDiffered(**key(run), of="epoch", epoch=1, attempt=0, instead={"loss": math.inf})
    yield NumbersDiffered(**key(run), of="score", epoch=None, attempt=0, instead={})
    yield reference()
    deconvolution = Reference(ReferenceRole.DECONVOLUTION, "test", name="Wiener", fields=3)
    yield reference(deconvolution, own={}, parameters={4: 0.1, 48: 1.0})
    yield TransferSet(store=STORE, images=IMAGES)
    elsewhere = Reference(ReferenceRole.UPPER_BOUND, "test", size=64)
    yield TransferReferenceScored(reference=elsewhere, eval_split="test", summary={}, **table())
    moved = {"trial": named.trial, "replicate": named.replicate}
    yield TransferScored(**moved, eval_split="test", summary={"ssim": 0.5}, **table())
    by_mode = {"stitched": [0.1, 0.2], "whole": [0.1, math.nan]}
    yield StitchingMeasured(
        **moved,
        levels=LEVELS,
        fields=["c"],
        wells=["c"],
        patch_size=32,
        border_px=8,
        profile=by_mode,
        border=by_mode,
        inside=by_mode,
        ssim=by_mode,
        psnr=by_mode,
    )
    yield StepTimed(trial=run.trial, seconds_per_step=0.01, steps_per_epoch=9)
    yield TestOpened(opening=0, phase=Phase.CONFIRM, candidates=[run.trial, named.trial])
    yield StudyEnded(run=0, status="failed", problems=["no"], record_seconds=0.5)


def small_study(name: str, phase: Phase = Phase.SEARCH) -> list[Event]:
    """The 12 events of a study: a reference, a baseline that finished and a trial that failed."""
    good, bad = RunId(phase, TrialId(0), 0), RunId(phase, TrialId(1), 0)
    return [
        study(name),
        reference(),
        *finished(good, 0.55),
        *(begun(bad), epoch(bad, 1), epoch(bad, 2)),
        ended(bad, TrialStatus.FAILED, "diverged"),
        StudyEnded(status="finished"),
    ]


def write_events(folder: Path, events: Iterable[Event]) -> Path:
    """Write events to the ledger of a folder; return the folder."""
    with Ledger(folder) as ledger:
        for event in events:
            ledger.append(event)
    return folder
