"""Made-up studies whose truth is known, from the events that real ones record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis.paper_tables import reference_curves
from study.config import DatasetConfig, EvaluationConfig, StudyConfig
from study.record.events import (
    EpochEnded,
    Event,
    Hyperparameters,
    ReferenceScored,
    StitchingMeasured,
    StudyBegun,
    StudyEnded,
    TestOpened,
    TransferReferenceScored,
    TransferScored,
    TransferSet,
    TrialBegun,
    TrialEnded,
    TrialScored,
)
from study.record.facts import Environment, ImageFacts, StoreFacts
from study.record.history import History
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
from study.score import Score
from tests.made_up_scores import make_score

FAITHFUL = StudyConfig(  # numbers that can be held beside the paper's
    name="made-up",
    dataset=DatasetConfig(resize="paper"),
    evaluation=EvaluationConfig(inference="stitched"),
)
SHAPE = {0: -0.05, 7: 0.0, 16: 0.1, 25: 0.0, 32: -0.1}  # falls by .05 below focus, by .1 above
BLURS = {1: 0.1, 4: 0.0, 48: 0.0}
FIELDS_OF_PAPER = 768


@dataclass(frozen=True)
class Network:
    """A configuration of a made-up study."""

    trial: TrialId
    label: str
    role: Role
    hyperparameters: Hyperparameters


WHOLE = Network(
    TrialId(0),
    "paper's whole image",
    Role.BASELINE,
    {"family": "whole", "depth": 2, "image_size": 128},
)
SPLIT = Network(
    TrialId(1),
    "paper's split image",
    Role.BASELINE,
    {"family": "split", "depth": 3, "image_size": 768, "patch_size": 128},
)
SEARCHED = Network(
    TrialId(2), "trial 0002", Role.SEARCHED, {"family": "whole", "depth": 4, "image_size": 128}
)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is true of a made-up study.

    Parameters
    ----------
    config : StudyConfig
        As it was resolved.
    kind : str
        Of the data set; the paper's curves are recorded where it has some.
    simulated : str, optional
        How the images were made.
    wells, fields_per_well, seeds : int
        Of the test set, and of the confirmation.
    levels : mapping
        Level -> what it adds to SSIM; 16 is in focus.
    ssim : mapping
        Network -> mean SSIM. The whole-image and the split-image network are always there.
    parameters : mapping
        Network -> its number of parameters.
    searched : bool
        Whether there was a search, which the first seed stands for.
    unrestored : float
        SSIM of the unrestored input.
    difficulty, noise : float
        Standard deviations of SSIM between fields, which all networks share, and of an image.
    collapsed : mapping
        Network -> its seeds that restore the same image whatever they are shown, but for hundredths
        of a dB.
    psnr_gain : mapping
        Network -> what is added to its PSNR at the evaluation resolution, which follows SSIM.
    losses : mapping
        Network -> the training loss at the end of each seed; 0.1 if not given.
    brighter : float
        How much brighter it makes cells than the whole-image network does.
    excess : float
        How much larger its errors are at seams when it is stitched; 0.002 when it is not.
    leak_by : float, optional
        What training within levels adds to the whole-image network's SSIM; not measured if not
        given.
    lost : mapping, optional
        Network -> the part of its SSIM on another data set, 0.9, that the heaviest blur takes. The
        networks that are not named were not scored there; none was if not given.
    ended : bool
        Whether the study has come to its end.
    """

    config: StudyConfig = FAITHFUL
    kind: str = "bbbc006"
    simulated: str | None = None
    wells: int = 10
    fields_per_well: int = 1
    seeds: int = 3
    levels: Mapping[int, float] = field(default_factory=lambda: SHAPE)
    ssim: Mapping[str, float] = field(
        default_factory=lambda: {WHOLE.label: 0.8, SPLIT.label: 0.75, SEARCHED.label: 0.8}
    )
    parameters: Mapping[str, float] = field(
        default_factory=lambda: {WHOLE.label: 100.0, SPLIT.label: 101.0, SEARCHED.label: 102.0}
    )
    searched: bool = True
    unrestored: float = 0.7
    difficulty: float = 0.01
    noise: float = 0.002
    collapsed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    psnr_gain: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, Sequence[float]] = field(default_factory=dict)
    brighter: float = 0.02
    excess: float = 0.01
    leak_by: float | None = None
    lost: Mapping[str, float] | None = None
    ended: bool = True

    @property
    def networks(self) -> list[Network]:
        """The configurations."""
        return [WHOLE, SPLIT, *([SEARCHED] if self.searched else [])]


def make_study(folder: Path, truth: Truth | None = None) -> History:
    """Write a study through a ledger, and return what the ledger holds."""
    with Ledger(folder) as ledger:
        for event in study_events(truth or Truth()):
            ledger.append(event)
    return ledger.history


def study_events(truth: Truth) -> Iterator[Event]:
    """Yield the events of a study in the order in which a real one records them."""
    maker = _Maker(truth)
    yield begun(truth)
    yield from reference_curves(truth.kind)
    if truth.searched:
        yield from maker.references("validation")
        for network in truth.networks:
            yield from maker.run(RunId(Phase.SEARCH, network.trial, 0), network)
    trials = [network.trial for network in truth.networks]
    yield TestOpened(opening=0, phase=Phase.CONFIRM, candidates=trials)
    yield from maker.references("test")
    for network in truth.networks:
        for replicate in range(truth.seeds):
            yield from maker.run(RunId(Phase.CONFIRM, network.trial, replicate), network)
    if truth.lost is not None:
        yield from maker.transfer(truth.lost)
    for replicate in range(truth.seeds):
        yield maker.stitching(replicate)
    if truth.leak_by is not None:
        for replicate in range(truth.seeds):
            yield from maker.leak(replicate, truth.leak_by)
    if truth.ended:
        yield StudyEnded(status="finished")


def begun(truth: Truth) -> StudyBegun:
    """Return a study's first event."""
    fields = truth.wells * truth.fields_per_well
    return StudyBegun(
        uid="u",
        name=truth.config.name,
        config=truth.config,
        store=store_facts(truth.kind, list(range(34)), fingerprint="abc123"),
        images=ImageFacts(
            title=truth.kind.upper(),
            simulated=truth.simulated,
            in_focus_level=16,
            level_title="z-plane",
            level_axis="z",
            level_symbol="z",
            shown_levels=[min(truth.levels), max(truth.levels)],
            well_title="well",
            fields={"train": FIELDS_OF_PAPER - fields, "test": fields},
            wells={"train": 384 - truth.wells, "test": truth.wells},
        ),
        split={},
        environment=Environment(
            command=["run.py"],
            python="3.11",
            platform="Linux",
            processor="",
            cpus=2,
            backend="tensorflow",
            packages={},
            git="0123abc",
        ),
    )


def store_facts(kind: str, levels: Sequence[int], *, fingerprint: str) -> StoreFacts:
    """Return what is recorded of a store."""
    return StoreFacts(
        folder="",
        fingerprint=fingerprint,
        kind=kind,
        source=f"raw {kind}",
        channel="w1",
        levels=list(levels),
        resolutions=[],
    )


class _Maker:
    """Makes the events of a study; draws its random numbers."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.rng = np.random.default_rng(0)
        fields = truth.wells * truth.fields_per_well
        self.difficulty = self.rng.normal(0, truth.difficulty, (fields, 1))

    def score(self, ssim: np.ndarray, *, eval_split: str, **own: float) -> Score:
        return make_score(
            ssim,
            list(self.truth.levels),
            in_focus=16,
            eval_split=eval_split,
            fields_per_well=self.truth.fields_per_well,
            **own,
        )

    def noise(self, levels: int) -> np.ndarray:
        return self.rng.normal(0, self.truth.noise, (len(self.difficulty), levels))

    def images(self, mean: float) -> np.ndarray:
        """Return SSIM of every field and level."""
        shape = np.array(list(self.truth.levels.values()))
        return mean + self.difficulty + shape + self.noise(len(shape))

    def references(self, split: str) -> Iterator[Event]:
        """Yield what stands beside the networks."""
        seen = self.images(self.truth.unrestored)
        scored = {
            Reference(ReferenceRole.UNRESTORED_INPUT, split): seen,
            Reference(ReferenceRole.AFFINE_FIT, split): seen + 0.01,
            Reference(ReferenceRole.UNRESTORED_INPUT, split, size=768): seen,
            Reference(ReferenceRole.UPPER_BOUND, split, size=128): np.full_like(seen, 0.98),
            Reference(ReferenceRole.UPPER_BOUND, split, size=768): np.full_like(seen, 1.0),
            Reference(ReferenceRole.MEAN_SCALE, split, size=128): np.full_like(seen, 0.95),
        }
        for reference, ssim in scored.items():
            score = self.score(ssim, eval_split=split, cells_bias=-0.1)
            yield ReferenceScored(reference=reference, **vars(score))

    def run(self, run: RunId, network: Network) -> Iterator[Event]:
        """Yield the events of one run of a configuration that finishes after one epoch."""
        ssim = self.images(self.truth.ssim[network.label])
        if run.replicate in self.truth.collapsed.get(network.label, ()):
            varied = 0.003 * np.arange(ssim.shape[1]) / ssim.shape[1]  # .03 dB
            ssim = 0.4 + self.difficulty + varied + 0 * ssim
        score = self.score(
            ssim,
            eval_split="validation" if run.phase == Phase.SEARCH else "test",
            psnr=30.277 if network is WHOLE else 20.0,
            cells_bias=-0.1 + self.truth.brighter * (network is SPLIT),
        )
        gain = self.truth.psnr_gain.get(network.label, 0.0)
        psnr = (np.array(score.evaluation["psnr"]) + gain).tolist()
        score.evaluation["psnr"], score.summary["psnr"] = psnr, score.summary["psnr"] + gain
        yield from self.events(run, network, score)

    def events(self, run: RunId, network: Network, score: Score) -> Iterator[Event]:
        of_run: dict[str, Any] = vars(run)
        cost = {"gflop": 0.25, "latency_ms": 4.5, "training_seconds": 10.0}
        cost["parameters"] = self.truth.parameters[network.label]
        losses = self.truth.losses.get(network.label, ())
        loss = losses[run.replicate] if run.replicate < len(losses) else 0.1
        metrics = {"loss": loss, "seconds": 0.98}
        mean = self.truth.ssim[network.label]
        if run.phase == Phase.SEARCH:
            metrics |= {"ssim": mean, "objective": mean, "rung_seconds": 0.02}
        yield TrialBegun(
            **of_run,
            label=network.label,
            role=network.role,
            hyperparameters=network.hyperparameters,
            seed=0,
            threads=1,
            eval_split=score.eval_split,
            epochs=1,
            folder=f"anywhere/{run.file_name}",
        )
        objective = score.summary["objective"]
        yield EpochEnded(**of_run, epoch=1, metrics=metrics, cost=cost, objective=objective)
        yield TrialScored(**of_run, **vars(score), cost=cost)
        yield TrialEnded(**of_run, status=TrialStatus.FINISHED, reason="", epoch=1)

    def stitching(self, replicate: int) -> Event:
        """Return errors at seams and inside, stitched and not, of the split-image network."""
        inside = self.rng.normal(0.05, 0.001, self.truth.wells)
        same = {mode: inside.tolist() for mode in ("stitched", "whole")}
        wells = [f"w{index}" for index in range(self.truth.wells)]
        return StitchingMeasured(
            trial=SPLIT.trial,
            replicate=replicate,
            levels=[0, 32],
            fields=wells,
            wells=wells,
            patch_size=128,
            border_px=8,
            profile={"stitched": [0.06, 0.05], "whole": [0.052, 0.05]},
            border={
                "stitched": (inside + self.truth.excess).tolist(),
                "whole": (inside + 0.002).tolist(),
            },
            inside=same,
            ssim=same,
            psnr=same,
        )

    def leak(self, replicate: int, leak_by: float) -> Iterator[Event]:
        """Yield a run that holds out every fourth image."""
        ssim = self.images(self.truth.ssim[WHOLE.label] + leak_by)
        held_out = np.arange(ssim.size).reshape(ssim.shape) % 4 == 0
        score = self.score(np.where(held_out, ssim, np.nan), eval_split="test")
        yield from self.events(RunId(Phase.LEAK, WHOLE.trial, replicate), WHOLE, score)

    def transfer(self, lost: Mapping[str, float]) -> Iterator[Event]:
        """Yield scores on another data set, of the unrestored input and of the networks named."""
        levels, fields = list(BLURS), len(self.difficulty)
        yield TransferSet(
            store=store_facts("bbbc005", [1, *range(2, 17)], fingerprint="def456"),
            images=ImageFacts(
                title="BBBC005",
                simulated=None,
                in_focus_level=1,
                level_title="blur level F",
                level_axis="F",
                level_symbol="F",
                shown_levels=[4, 48],
                well_title="scene",
                fields={"test": fields},
                wells={"test": self.truth.wells},
            ),
        )

        def score(means: Sequence[float]) -> dict[str, Any]:
            ssim = np.tile(means, (fields, 1)) + self.noise(len(levels))
            of_well = self.truth.fields_per_well
            return vars(make_score(ssim, levels, in_focus=1, fields_per_well=of_well))

        for curve in reference_curves("bbbc005"):
            yield TransferReferenceScored(**vars(curve))
        unrestored = Reference(ReferenceRole.UNRESTORED_INPUT, "test")
        yield TransferReferenceScored(reference=unrestored, **score([1, 0.9, 0.6]))
        for network in self.truth.networks:
            for replicate in range(self.truth.seeds if network.label in lost else 0):
                means = [1, 0.9, 0.9 * (1 - lost[network.label])]
                yield TransferScored(trial=network.trial, replicate=replicate, **score(means))
