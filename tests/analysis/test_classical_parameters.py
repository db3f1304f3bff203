from __future__ import annotations

from pathlib import Path

from analysis.classical_parameters import parameter_fold, parameter_table
from analysis.load import Study, load_study
from analysis.report import write_report
from study.record.events import ReferenceScored
from study.record.identities import Reference, ReferenceRole
from study.record.ledger import Ledger
from tests.made_up_study import Truth, study_events


def with_deconvolutions(folder: Path, parameters: dict[int, float]) -> Study:
    with Ledger(folder) as ledger:
        for event in study_events(Truth()):
            ledger.append(event)
            unrestored = Reference(ReferenceRole.UNRESTORED_INPUT, "test")
            if isinstance(event, ReferenceScored) and event.reference == unrestored:
                score = {
                    name: value
                    for name, value in vars(event).items()
                    if name not in ("time", "row", "reference", "parameters")
                }
                for name in ("Wiener", "total variation"):
                    of = Reference(ReferenceRole.DECONVOLUTION, "test", name=name, fields=2)
                    ledger.append(ReferenceScored(reference=of, parameters=parameters, **score))
    return load_study(folder)


def test_the_parameters_of_classical_methods_are_shown_by_level(tmp_path: Path) -> None:
    study = with_deconvolutions(tmp_path, {0: 0.0001, 32: 10**-0.5})
    table = parameter_table(study).set_index(study.dataset.level_title)
    assert table.loc["Wiener (balance)"].to_dict() == {"0": "0.0001", "32": "0.316"}
    assert list(table.index) == ["Wiener (balance)", "total variation (weight)"]
    page = write_report(study).read_text(encoding="utf-8")
    assert "Parameters of the classical methods, chosen on " in page


def test_methods_from_before_they_were_tuned_have_no_parameters(tmp_path: Path) -> None:
    study = with_deconvolutions(tmp_path, {})
    assert parameter_table(study).empty
    assert list(parameter_fold(study)) == []
