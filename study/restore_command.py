"""``refocus restore``: a study's best network on images of one's own."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from study.errors import StudyError, raise_all
from study.files import read_image, write_tiff
from study.libraries import quiet_import
from study.record.identities import TrialId

COLLAPSED = 0.05  # share of an image's standard deviation below which a restoration shows nothing
HEADING = "Some images cannot be restored"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what follows the study's folder."""
    parser.add_argument("images", type=Path, nargs="+", help="grey images, any size; TIFF or PNG")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where NAME_restored.tif are written",
    )
    parser.add_argument(
        "--trial",
        help="a number of the report's table; the best of the outcome if not given",
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="use a network that is below the unrestored input, and write restorations that show"
        " nothing",
    )


def restore(options: argparse.Namespace) -> int:
    """Restore the images; return 1 if some restorations were not written.

    Raises
    ------
    StudyError
        If there is no network to use, an image cannot be read, or two would have one name.
    """
    from analysis.best_run import choose_run
    from analysis.load import load_study

    targets = _name_targets(options.images, options.out)
    study = load_study(options.study)
    best = choose_run(study, trial=TrialId.parse(options.trial) if options.trial else None)
    if best.refusal and not options.anyway:
        raise StudyError(
            f"{best.refusal}. Take another network of the report (--trial N), or this one all the"
            " same: --anyway"
        )
    images = _read(options.images)
    with quiet_import():
        from study.trial.restoring import as_type, load_restorer
    restorer = load_restorer(study.run_folder(best.run))
    print(best.sentence)
    if best.refusal:
        print(f"caution: {best.refusal}", file=sys.stderr)
    print(f"{best.run.hyperparameters}, at {restorer.resolution.size} px: finer detail is lost")
    empty = 0
    for path, image in images.items():
        restored = restorer.restore(image)
        shows_something = float(restored.std()) >= COLLAPSED * float(image.std())  # not if nan
        if not (shows_something or options.anyway):
            empty += 1
            print(
                f"error: {path}: the restoration shows nothing: its intensities vary by"
                f" {restored.std():.4g} (standard deviation), the image's by {image.std():.4g};"
                " not written. Take another network (--trial N), or --anyway",
                file=sys.stderr,
            )
            continue
        write_tiff(targets[path], as_type(restored, image.dtype))
        print(f"{path} -> {targets[path]}")
    return 1 if empty else 0


def _name_targets(paths: Sequence[Path], folder: Path) -> Mapping[Path, Path]:
    """Return where each image's restoration goes; refuse images that would share a file."""
    sources: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        sources[folder / f"{path.stem}_restored.tif"].append(path)
    shared = [
        f"{' and '.join(map(str, images))} would all be written to {target}: rename them, or"
        " restore them into folders of their own"
        for target, images in sources.items()
        if len(images) > 1
    ]
    raise_all(shared, heading=HEADING)
    return {path: target for target, [path] in sources.items()}


def _read(paths: Sequence[Path]) -> Mapping[Path, np.ndarray]:
    images, problems = {}, []
    for path in paths:
        try:
            image = read_image(path)
        except StudyError as error:
            problems.append(f"{path} {error}")
            continue
        if image.ndim != 2:
            problems.append(
                f"{path} has shape {image.shape}; an image has to be grey, with two axes"
            )
        images[path] = image
    raise_all(problems, heading=HEADING)
    return images
