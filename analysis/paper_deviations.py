"""Where a study deviates from the paper's experiment: data, preparation, training, evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.load import Study
from analysis.paper_tables import defocused_levels, paper_facts, training_set

EPOCHS, BATCH_SIZE, CHANNEL, RESIZE = 50, 16, "w1", "paper"  # the paper's


def deviations(study: Study) -> list[str]:
    """Say in sentences how this study deviates from the paper's experiment."""
    return [
        *_of_images(study),
        *_of_training(study),
        *_of_evaluation(study),
        "768 px is our reading of 36 patches of 128 px; the paper does not state the size.",
    ]


def _of_images(study: Study) -> Iterator[str]:
    images, facts = study.dataset, paper_facts(study.kind)
    if images.simulated:
        yield f"The planes are not the published ones: {images.simulated}."
    wells, fields = sum(images.wells.values()), sum(images.fields.values())
    levels, channel = len(study.store.levels), study.config.dataset.channel
    if facts is None:
        yield f"The paper has no numbers of {images.title}."
    elif facts.trained_on:
        if (wells, fields) != (facts.wells, facts.fields):
            yield f"{fields} fields of {wells} wells instead of {facts.fields} of {facts.wells}."
        if levels != (all_levels := len(defocused_levels(study.kind)) + 1):
            yield f"{levels} planes instead of {all_levels}; the averages are over those."
    else:
        blurs = len(defocused_levels(study.kind))
        yield (
            f"{fields} scenes at {levels} blur levels; the paper averages"
            f" {facts.fields * blurs:,} images of {blurs} levels."
        )
    if channel != CHANNEL:
        yield f"Channel {channel} instead of {CHANNEL}."
    if facts is not None and not facts.trained_on:
        yield (
            f"The networks are trained on {images.title}; the paper trained on"
            f" {training_set()[0]} and only tested here (its Table {facts.averages_table})."
        )


def _of_training(study: Study) -> Iterator[str]:
    config = study.config
    training, sizes, seconds = config.training, config.sizes, config.confirm.seconds
    if seconds is not None:
        yield (
            f"Each network is trained for about {seconds:g} seconds, not for a number of epochs."
        )
    elif training.epochs != EPOCHS:
        yield f"{training.epochs} epochs instead of {EPOCHS}."
    if training.batch_size != BATCH_SIZE:
        yield f"Batches of {training.batch_size} instead of {BATCH_SIZE}."
    if training.images_per_epoch is not None:
        yield (
            f"An epoch is {training.images_per_epoch} images drawn at random; the paper's is all of"
            " them."
        )
    if training.precision != "float32":
        yield f"Trained in {training.precision}; the paper does not say in what."
    if training.patches_per_image is not None:
        yield (
            f"The split-image network sees {training.patches_per_image} sampled patch(es) of each"
            f" image in an epoch instead of all {(sizes.split // sizes.patches[0]) ** 2}."
        )
    if config.scaled_down:
        yield (
            f"Scaled down: the baselines work at {sizes.whole[0]} px and"
            f" {sizes.split}/{sizes.patches[0]} px instead of 128 and 768/128 px. No claim may rest"
            " on these numbers."
        )


def _of_evaluation(study: Study) -> Iterator[str]:
    config = study.config
    if config.dataset.resize != RESIZE:
        yield (
            "Images are shrunk by their area mean; the paper's bicubic resizing does not low-pass."
        )
    if config.dataset.normalisation == "pair":
        yield (
            "Both images of a pair are normalised by the range of the defocused one, and the"
            " networks end in a linear layer; the paper normalises each image by its own range, and"
            " its networks end in a sigmoid."
        )
    if config.evaluation.inference == "whole":
        yield (
            "The split-image network restores the whole image at once; the paper stitches patches."
        )
    if config.dataset.split == "by_well":
        yield (
            f"Fields are divided by {study.dataset.well_title}, so that no field is on two sides;"
            " the paper draws 20 % of each plane on its own."
        )


def transfer_deviations(other: Study) -> list[str]:
    """Say in sentences how a transfer deviates from the paper's: what was scored, and what the
    networks were trained on.
    """
    images, trained_on, facts = other.dataset, other.trained_on, paper_facts(other.kind)
    if facts is None or facts.trained_on:
        scored = (
            f"{images.fields['test']} fields of {images.wells['test']} {images.well_title}s, none"
            " of which a network was trained on."
        )
    else:
        blurs = len(defocused_levels(other.kind))
        scored = (
            f"{images.fields['test']} scenes at {len(other.store.levels) - 1} blur levels; the"
            f" paper averages {facts.fields * blurs:,} images of {blurs}."
        )
    sentences = [scored]
    if images.simulated:
        sentences.append(f"The images are not the published files: {images.simulated}.")
    if trained_on.simulated:
        sentences.append(f"The networks were trained on simulated planes: {trained_on.simulated}.")
    if trained_on.title != training_set()[0]:
        sentences.append(
            f"The networks were trained on {trained_on.title}; the paper's on {training_set()[0]}."
        )
    return sentences


def not_comparable(study: Study, family: str, *, average: bool = False) -> str:
    """Say why numbers of one family cannot be held against the paper's; empty if they can.

    Parameters
    ----------
    study : Study
        The study, or its transfer.
    family : str
        whole or split.
    average : bool
        Of the averages over all levels, too.
    """
    config, trained_on, facts = study.config, study.trained_on, paper_facts(study.kind)
    if facts is None:
        return f"the paper has no numbers of {study.dataset.title}"
    training, levels = config.training, len(study.store.levels)
    fields, split = sum(trained_on.fields.values()), family == "split"
    paper_set, paper_fields = training_set()
    all_levels = len(defocused_levels(study.kind)) + 1
    reasons = {
        "scaled down": config.scaled_down,
        "simulated": study.dataset.simulated or trained_on.simulated,
        f"trained on {trained_on.title}, the paper on {paper_set}": trained_on.title != paper_set,
        f"{fields} fields, the paper had {paper_fields}": fields != paper_fields,
        f"{training.epochs} epochs": training.epochs != EPOCHS,
        "trained for equal seconds": config.confirm.seconds is not None,
        f"trained in {training.precision}": training.precision != "float32",
        "epochs of sampled images": training.images_per_epoch is not None,
        f"batches of {training.batch_size}": training.batch_size != BATCH_SIZE,
        f"channel {config.dataset.channel}": config.dataset.channel != CHANNEL,
        "normalised by the pair": config.dataset.normalisation == "pair",
        "resized by area mean": config.dataset.resize != RESIZE,
        "patches were sampled": split and training.patches_per_image is not None,
        "not stitched": split and config.evaluation.inference == "whole",
        f"{levels} of {all_levels} levels": average and levels != all_levels,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")
