"""The parameters of the classical methods beside the networks, as a table."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.final_scores import final_references
from analysis.load import Study
from analysis.page import Block, Fold, Paragraph, Table, source
from study.record.identities import ReferenceRole

PARAMETERS = {  # method -> what its parameter is
    "unsharp mask": "amount",
    "Wiener": "balance",
    "Richardson-Lucy": "iterations",
    "total variation": "weight",
}


def parameter_table(study: Study) -> pd.DataFrame:
    """Return the parameters that were chosen: a row for each method, a column for each level;
    empty for a study from before they were.
    """
    rows = []
    for reference in final_references(study, ReferenceRole.DECONVOLUTION):
        parameters = study.references[reference].parameters
        title = f"{reference.name} ({PARAMETERS.get(reference.name, 'parameter')})"
        if parameters:
            cells = {str(level): f"{value:.3g}" for level, value in parameters.items()}
            rows.append({study.dataset.level_title: title, **cells})
    return pd.DataFrame(rows).fillna("")


def parameter_fold(study: Study) -> Iterator[Block]:
    """Yield the parameters of the classical methods, folded; nothing where none was chosen."""
    table = parameter_table(study)
    if table.empty:
        return
    side = "validation" if study.history.study.split.get("validation") else "training"
    images = f"{side} fields"
    if study.config.dataset.split == "within_levels":
        images = "images that are trained on"
    scored = [study.references[one] for one in final_references(study, ReferenceRole.DECONVOLUTION)]
    yield Fold(
        f"Parameters of the classical methods, chosen on {side}",
        [
            Paragraph(
                f"Each is the one of its grid that restores some {images} best at its level, by the"
                " metric of the first objective.",
                "note",
            ),
            Table(table),
            source(study, ", ".join(str(score.row) for score in scored)),
        ],
    )
