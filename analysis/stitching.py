"""The bordering effect of stitching: errors at the seams between patches and elsewhere."""

from __future__ import annotations

import pandas as pd

from analysis.load import Study, split_of

MODES = ("stitched", "whole")


def stitching_table(study: Study) -> pd.DataFrame:
    """Return a row for each field and network measured: label, replicate, well, errors at the seams
    and elsewhere in both modes.

    ``excess`` is (border - inside) of the stitched restoration less that of the whole one;
    ``ssim_gain`` is stitched less whole.
    """
    rows = []
    for run, event in study.history.stitchings.items():
        parts = {
            "border": event.border,
            "inside": event.inside,
            "ssim": event.ssim,
            "psnr": event.psnr,
        }
        for index, well in enumerate(event.wells):
            values = {
                f"{part}_{mode}": by_mode[mode][index]
                for part, by_mode in parts.items()
                for mode in MODES
            }
            stitched, whole = (
                values[f"border_{mode}"] - values[f"inside_{mode}"] for mode in MODES
            )
            rows.append(
                {
                    "label": study.history.runs[run].label,
                    "replicate": run.replicate,
                    **split_of(study.history, run),
                    "well": well,
                    "row": event.row,
                    "border_px": event.border_px,
                    **values,
                    "excess": stitched - whole,
                    "ssim_gain": values["ssim_stitched"] - values["ssim_whole"],
                }
            )
    return pd.DataFrame(rows)
