"""The configuration of a study: declared once here; `study.validation` checks it as a whole before
anything is spent.

A named study is a file in `study/configs`; `study.command_line` fills these classes from it and
from the command line.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from study.bounds import Bound, Count, CountOrZero, Share

ROOT = Path(__file__).resolve().parents[1]  # of the program
SEARCHERS = ("tpe", "random", "grid", "nsga2", "gp", "cmaes")
QUALITIES = ("ssim", "psnr", "penalized_ssim", "worst_ssim", "worst_psnr")


@dataclass(frozen=True)
class SimulateConfig:
    """Make the raw folder before the study, when no `dataset.root` is given.

    Parameters
    ----------
    wells : int
        Wells (bbbc006) or scenes (bbbc005) to make; 0 simulates nothing.
    fields_per_well : int
        Fields of view in each well.
    from_sharp : str, optional
        Folder of real in-focus images to blur; procedural nuclei without it.
    """

    wells: CountOrZero = 0
    fields_per_well: int = 1
    from_sharp: str | None = None


@dataclass(frozen=True)
class DatasetConfig:
    """Which images, and how they are prepared and split.

    Parameters
    ----------
    kind : str
        The layout of the raw folder: bbbc005, bbbc006, or another that `study.data.layouts` holds.
    root : str, optional
        The raw folder, as the Broad Institute publishes it.
    channel : {'w1', 'w2'}
        w1 (Hoechst in BBBC006; the nuclei-like stain in BBBC005) or w2.
    levels : list of int, optional
        z-planes (bbbc006) or blur levels F (bbbc005) to use; all that the folder holds if not
        given.
    max_fields : int, optional
        Use at most so many fields of view, chosen evenly over the wells; all if not given.
    resize : {'antialiased', 'paper'}
        antialiased (area mean when shrinking) or paper (bicubic always).
    normalisation : {'own', 'pair'}
        own (each image by its own minimum and maximum, as the paper does: how the target's range
        relates to what the network sees is hidden from it) or pair (both images of a pair by the
        range of the defocused one; networks then end in a linear layer).
    test : float
        Share of the wells or scenes in the test set; above 0.
    validation : float
        Share of them in the validation set, on which a search compares; the rest trains.
    split : {'by_well', 'within_levels'}
        by_well (a field is on one side at every level) or within_levels (the paper's: `test` of the
        images of each level on its own, so that a field can be on both sides).
    simulate : SimulateConfig
        Make the raw folder instead of reading `root`.
    """

    kind: str = "bbbc006"
    root: str | None = None
    channel: Literal["w1", "w2"] = "w1"
    levels: list[int] | None = None
    max_fields: Count | None = None
    resize: Literal["antialiased", "paper"] = "antialiased"
    test: Share = 0.20
    validation: Share = 0.16
    split: Literal["by_well", "within_levels"] = "by_well"
    normalisation: Literal["own", "pair"] = "own"
    simulate: SimulateConfig = field(default_factory=SimulateConfig)


@dataclass(frozen=True)
class SizesConfig:
    """Image and patch sizes, in pixels of a side; the first of each list is the baseline's.

    Parameters
    ----------
    whole : list of int
        Image sizes that the whole-image family may take.
    split : int
        Image size of the split-image family.
    patches : list of int
        Patch sizes that the split-image family may take; each divides `split`.
    crops : list of int
        Sizes of the crops that the unet family (space beyond) is trained on; each divides every
        size of `whole`. Whole images if none is given. It is scored on whole images.
    """

    whole: list[int] = field(default_factory=lambda: [128])
    split: int = 768
    patches: list[int] = field(default_factory=lambda: [128])
    crops: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; the defaults are the paper's (section 5.3).

    Parameters
    ----------
    epochs : int
        The full budget of a trial.
    batch_size : int
        Patches in one step.
    patches_per_image : int, optional
        Patches sampled from an image in each epoch; all of them if not given.
    images_per_epoch : int, optional
        Defocused images drawn for each epoch, so that a search on many images can be judged before
        it has seen all; all of them if not given. The paper's schedule of the learning rate goes on
        counting passes over all images.
    precision : {'float32', 'mixed_bfloat16'}
        What networks compute in while they are trained; mixed_bfloat16 halves the time where the
        processor or GPU has units for it. Weights are float32 and, but for rung scores, what is
        scored is computed in float32 in both.
    """

    epochs: Count = 50
    batch_size: Count = 16
    patches_per_image: Count | None = None
    images_per_epoch: Count | None = None
    precision: Literal["float32", "mixed_bfloat16"] = "float32"


@dataclass(frozen=True)
class SearchConfig:
    """What is searched, by whom, and when a trial is stopped.

    Parameters
    ----------
    space : {'paper', 'beyond', 'none'}
        A search space of `search_spaces`, or none to run the baselines alone.
    trials : int
        Searched trials; the two baselines are run besides.
    objectives : list of str
        What is searched for: first a quality on validation, which also decides who is stopped
        early: ssim, psnr; worst_ssim, worst_psnr, of the worst level; penalized_ssim, the mean SSIM
        less the harm done to levels (`study.objectives.harm`); then costs that are weighed
        against it: parameters, gflop, latency_ms.
    level_weights : dict of int to float, optional
        Weights of levels in the mean of ssim (of penalized_ssim too, but not in the harm) or psnr;
        1 for a level that is not named.
    searcher : str
        tpe, random, grid (every configuration of a space without continuous hyperparameters), nsga2
        (for several objectives), gp (needs the package torch) or cmaes (needs cmaes).
    scheduler : {'asha', 'median', 'none'}
        asha, median (stops a trial that is below the median of the others' means) or none.
    initial_configurations : list of str
        Configurations of the space beyond to try before any is proposed: unet (a residual U-Net of
        16 filters), robust (the same, trained so that it does less harm near the focus, for less
        gain far from it), context (the same with global context, by a loss in which images near the
        focus count for more); a searcher learns from them too.
    warm_start : str, optional
        The folder of an earlier study in the same space, whose trials the searcher learns from
        before its first. Where that study holds all fields of this one, its split is taken over, so
        that nothing it learned or chose on is a test field here.
    grace_epochs : int
        Epochs that every trial may run before it can be stopped.
    reduction_factor : int
        Of the trials that reach a rung, one in so many goes on.
    rung_images : int
        Validation images scored after each epoch, the same for all trials.
    max_tflop : float, optional
        10^12 floating-point operations that a searched configuration may take to train, in the
        search and in its confirmation: a network that would need more in `training.epochs` is given
        fewer steps (its first `grace_epochs` are then shorter epochs), and its learning rate's
        schedule is fitted to them. No limit if not given.
    """

    space: Literal["paper", "beyond", "none"] = "paper"
    trials: CountOrZero = 8
    objectives: list[
        Literal[
            "ssim",
            "psnr",
            "penalized_ssim",
            "worst_ssim",
            "worst_psnr",
            "parameters",
            "gflop",
            "latency_ms",
        ]
    ] = field(default_factory=lambda: ["ssim"])
    level_weights: dict[int, float] | None = None
    searcher: str = "tpe"
    scheduler: Literal["asha", "median", "none"] = "asha"
    initial_configurations: list[Literal["unet", "robust", "context"]] = field(default_factory=list)
    warm_start: str | None = None
    grace_epochs: Count = 1
    reduction_factor: Annotated[int, Bound(">=", 2)] = 3
    rung_images: Count = 32
    max_tflop: Annotated[float, Bound(">", 0)] | None = None


@dataclass(frozen=True)
class ConfirmConfig:
    """The last word: the best and the baselines again, on the test set.

    Parameters
    ----------
    best : int or 'front'
        How many of the searched trials are confirmed, of their Pareto front where costs are
        searched for too; front confirms all of it.
    replicates : int
        Seeds of each.
    splits : int
        Repeat all of it over so many splits into training and test side, so that its intervals hold
        how much hangs on the split; the search has seen the test fields of all but the first.
    seconds : float, optional
        Train each configuration for so many seconds, turned into steps by a measured one, instead
        of `training.epochs`.
    steps : int, optional
        Train each configuration for so many steps instead. Without either, a searched one is
        trained as long as `search.max_tflop` lets it, as in the search.
    comparators : list of str
        Configurations from outside the search to confirm beside it: residual_unet (a U-Net),
        earlier (the winner of `search.warm_start`), tuned_whole and tuned_split (the paper's
        networks with the winner's training, which tell what its training gains from what its
        network does).
    leak : bool
        Also train the paper's whole-image network with the paper's own split, within levels, to
        measure what it leaks.
    margin : float, optional
        A difference within it, either way, counts as none, in units of the first objective:
        configurations are the same only if an equivalence test says so. 0.005 for SSIM and 0.2 dB
        for PSNR if not given.
    """

    best: CountOrZero | Literal["front"] = 1
    replicates: Count = 3
    splits: Count = 1
    seconds: Annotated[float, Bound(">=", 1)] | None = None
    steps: Count | None = None
    comparators: list[Literal["residual_unet", "earlier", "tuned_whole", "tuned_split"]] = field(
        default_factory=list
    )
    leak: bool = False
    margin: Annotated[float, Bound(">", 0)] | None = None


@dataclass(frozen=True)
class TransferConfig:
    """Another data set on which every confirmed network is scored.

    It is scored on all fields of that set, whatever it was trained on.

    Parameters
    ----------
    kind : str
        Its layout.
    root : str, optional
        Its raw folder; no transfer if not given.
    channel : {'w1', 'w2'}
        w1 or w2.
    levels : list of int, optional
        Levels to use; all that the folder holds if not given.
    max_fields : int, optional
        Use at most so many fields of view.
    """

    kind: str = "bbbc005"
    root: str | None = None
    channel: Literal["w1", "w2"] = "w1"
    levels: list[int] | None = None
    max_fields: Count | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """How a network is scored.

    Parameters
    ----------
    resolution : int
        Side in pixels, by area mean, at which all models and the unrestored input are compared.
    inference : {'whole', 'stitched'}
        whole (the whole image at once) or stitched (patch by patch, as the paper does).
    deconvolved_fields : int
        So many test fields are also restored by classical deconvolutions, told the true blur and
        tuned by level on validation; none of published BBBC006 images, whose blur nobody knows.
    """

    resolution: int = 128
    inference: Literal["whole", "stitched"] = "whole"
    deconvolved_fields: CountOrZero = 0


@dataclass(frozen=True)
class ResourcesConfig:
    """What one trial is given.

    Parameters
    ----------
    cpus_per_trial : int
        Processors of a trial, and its threads.
    gpus_per_trial : float or 'auto'
        May be a fraction: then the process is also kept to that share of the GPU's memory. auto
        measures a trial on one of the cluster's GPUs and chooses.
    node_folder : str, optional
        A folder on a disk of each node's own, such as /tmp/refocus, into which the prepared images
        are copied once from `storage` and from where trials read them; they read `storage` if not
        given.
    max_retries : int
        How often a trial is taken up again after its worker died.
    """

    cpus_per_trial: Count = 1
    gpus_per_trial: Annotated[float, Bound(">=", 0)] | Literal["auto"] = 0.0
    node_folder: str | None = None
    max_retries: CountOrZero = 2


@dataclass(frozen=True)
class RecordConfig:
    """Where the record is mirrored.

    Parameters
    ----------
    mlflow : str, optional
        Tracking URI; a sqlite file in the storage folder if not given, `none` for no mirror.
    experiment : str
        The MLflow experiment that holds the studies.
    """

    mlflow: str | None = None
    experiment: str = "refocus"


@dataclass(frozen=True)
class StudyConfig:
    """A whole study.

    Parameters
    ----------
    name : str
        Name of the study and of its folder; the configuration and the time if not given.
    storage : str
        The folder that holds stores, studies and the MLflow file.
    seed : int
        Every random choice comes from it.
    scaled_down : bool
        Baselines are made smaller than the paper's, to try the program; no claim may rest on it.
    """

    name: str = ""
    storage: str = "results"
    seed: CountOrZero = 0
    scaled_down: bool = False
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    sizes: SizesConfig = field(default_factory=SizesConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    record: RecordConfig = field(default_factory=RecordConfig)

    @property
    def folder(self) -> Path:
        """Where this study keeps all that it leaves."""
        return Path(self.storage).resolve() / "studies" / self.name

    @property
    def image_sizes(self) -> list[int]:
        """Every image size that a trial of this study can ask for, ascending."""
        return sorted({*self.sizes.whole, self.sizes.split})

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain dictionaries, lists and numbers."""
        return dataclasses.asdict(self)


def derive_seed(*parts: int | str) -> int:
    """Derive a 31-bit seed from the study's seed and whatever tells one random choice from
    another.
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
