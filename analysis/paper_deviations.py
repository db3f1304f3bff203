"""Where a study deviates from the paper's experiment: data, preparation, training, evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.load import Study

PAPER = {
    "epochs": 50,
    "batch_size": 16,
    "resize": "paper",
    "wells": 384,
    "fields": 768,
    "planes": 34,
}


def deviations(study: Study) -> list[str]:
    """Say in sentences how this study deviates from the paper's experiment."""
    return [
        *_of_images(study),
        *_of_training(study),
        *_of_evaluation(study),
        "768 px is our reading of 36 patches of 128 px; the paper does not state the size.",
    ]


def _of_images(study: Study) -> Iterator[str]:
    images, channel = study.header["images"], study.header["config"]["dataset"]["channel"]
    if images["simulated"]:
        yield f"The planes are not the published ones: {images['simulated']}."
    wells, fields = sum(images["wells"].values()), sum(images["fields"].values())
    planes = len(study.header["store"]["levels"])
    if study.kind == "bbbc006" and (wells, fields) != (PAPER["wells"], PAPER["fields"]):
        yield f"{fields} fields of {wells} wells instead of {PAPER['fields']} of {PAPER['wells']}."
    if study.kind == "bbbc006" and planes != PAPER["planes"]:
        yield f"{planes} planes instead of {PAPER['planes']}; the averages are over those."
    if study.kind == "bbbc005":
        yield (
            f"{fields} scenes at {planes} blur levels; the paper averages 9,000 images of 15"
            " levels."
        )
    if channel != "w1":
        yield f"Channel {channel} instead of w1."
    if study.kind == "bbbc005":
        yield (
            "The networks are trained on BBBC005; the paper trained on BBBC006 and only tested here"
            " (its Table 2)."
        )


def _of_training(study: Study) -> Iterator[str]:
    config = study.header["config"]
    training, sizes, seconds = config["training"], config["sizes"], config["confirm"]["seconds"]
    if seconds is not None:
        yield (
            f"Each network is trained for about {seconds:g} seconds, not for a number of epochs."
        )
    elif training["epochs"] != PAPER["epochs"]:
        yield f"{training['epochs']} epochs instead of {PAPER['epochs']}."
    if training["batch_size"] != PAPER["batch_size"]:
        yield f"Batches of {training['batch_size']} instead of {PAPER['batch_size']}."
    if training.get("images_per_epoch") is not None:
        yield (
            f"An epoch is {training['images_per_epoch']} images drawn at random; the paper's is all"
            " of them."
        )
    if training.get("precision", "float32") != "float32":
        yield f"Trained in {training['precision']}; the paper does not say in what."
    if training["patches_per_image"] is not None:
        yield (
            f"The split-image network sees {training['patches_per_image']} sampled patch(es) of"
            " each image in an epoch instead of all"
            f" {(sizes['split'] // sizes['patches'][0]) ** 2}."
        )
    if config["scaled_down"]:
        yield (
            f"Scaled down: the baselines work at {sizes['whole'][0]} px and"
            f" {sizes['split']}/{sizes['patches'][0]} px instead of 128 and 768/128 px. No claim"
            " may rest on these numbers."
        )


def _of_evaluation(study: Study) -> Iterator[str]:
    config = study.header["config"]
    if config["dataset"]["resize"] != PAPER["resize"]:
        yield (
            "Images are shrunk by their area mean; the paper's bicubic resizing does not low-pass."
        )
    if config["evaluation"]["inference"] == "whole":
        yield (
            "The split-image network restores the whole image at once; the paper stitches patches."
        )
    if config["dataset"].get("split", "by_well") == "by_well":
        yield (
            f"Fields are divided by {study.header['images']['well_title']}, so that no field is on"
            " two sides; the paper draws 20 % of each plane on its own."
        )


def transfer_deviations(other: Study) -> list[str]:
    """Say in sentences how a transfer deviates from the paper's: what was scored, and what the
    networks were trained on.
    """
    images, trained_on = other.header["images"], other.header["trained_on"]
    sentences = [
        f"{images['fields']['test']} fields of {images['wells']['test']} {images['well_title']}s,"
        " none of which a network was trained on."
    ]
    if other.kind == "bbbc005":
        sentences[0] = (
            f"{images['fields']['test']} scenes at {len(other.header['store']['levels']) - 1} blur"
            " levels; the paper averages 9,000 images of 15."
        )
    if images["simulated"]:
        sentences.append(f"The images are not the published files: {images['simulated']}.")
    if trained_on["simulated"]:
        sentences.append(
            f"The networks were trained on simulated planes: {trained_on['simulated']}."
        )
    if trained_on["title"] != "BBBC006":
        sentences.append(
            f"The networks were trained on {trained_on['title']}; the paper's on BBBC006."
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
    config, images = study.header["config"], study.header["images"]
    trained_on = study.header.get("trained_on", images)
    dataset, training = config["dataset"], config["training"]
    levels, expected = (
        len(study.header["store"]["levels"]),
        {"bbbc006": 34, "bbbc005": 16}[study.kind],
    )
    fields = sum(trained_on["fields"].values())
    reasons = {
        "scaled down": config["scaled_down"],
        "simulated": images["simulated"] or trained_on["simulated"],
        f"trained on {trained_on['title']}, the paper on BBBC006": trained_on["title"] != "BBBC006",
        f"{fields} fields, the paper had {PAPER['fields']}": fields != PAPER["fields"],
        f"{training['epochs']} epochs": training["epochs"] != PAPER["epochs"],
        "trained for equal seconds": config["confirm"]["seconds"] is not None,
        f"trained in {training.get('precision')}": (
            training.get("precision", "float32") != "float32"
        ),
        "epochs of sampled images": training.get("images_per_epoch") is not None,
        f"batches of {training['batch_size']}": training["batch_size"] != PAPER["batch_size"],
        f"channel {dataset['channel']}": dataset["channel"] != "w1",
        "resized by area mean": dataset["resize"] != PAPER["resize"],
        "patches were sampled": family == "split" and training["patches_per_image"] is not None,
        "not stitched": family == "split" and config["evaluation"]["inference"] == "whole",
        f"{levels} of {expected} levels": average and levels != expected,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")
