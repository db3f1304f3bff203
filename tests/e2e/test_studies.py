"""What a study does around its trials, by the tiny trial."""

from __future__ import annotations

import html
import itertools
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import optuna
import pytest
from keras_tuner import HyperParameters

import search_spaces
from search_spaces.paper import paper
from search_spaces.sizes import Sizes
from study.cli import main as refocus
from study.data.layouts import bbbc005, bbbc006
from study.programs import call_run
from study.record.events import TestOpened, TrialBegun
from study.record.identities import Phase, Role, TrialId, TrialStatus
from tests.e2e.conftest import Done
from tests.programs import small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]
Run = Callable[..., Done]


def test_baseline_only_trains_the_two_and_prints_them_beside_the_paper(
    run_tiny: Run, raw_folder: Path, tmp_path: Path
) -> None:
    options = small("two", raw=raw_folder, storage=tmp_path)
    options[:2] = ["--config", "baseline_only"]
    options += ["--search.space", "none"]
    options += ["--training.epochs", "1", "--training.patches_per_image", "1"]
    options += ["--scaled_down", "true", "--evaluation.deconvolved_fields", "1"]
    done = run_tiny(*options, "--without-mlflow", folder=tmp_path / "studies" / "two")
    assert done.status == 0, done.err
    assert [(run.id.phase, run.label) for run in done.history.runs.values()] == [
        (Phase.CONFIRM, "paper's whole image"),
        (Phase.CONFIRM, "paper's split image"),
    ]
    for name in ("unsharp mask", "Wiener", "Richardson-Lucy"):
        assert f"{name}, true blur, 1 fields (test)" in done.out
    assert "Beside the paper's Table 1" in done.out
    assert all(printed in done.out for printed in ("0.876", "0.802", "30.277", "26.905"))
    assert "1 epochs instead of 50" in done.out
    assert "10 fields of 5 wells instead of 768 of 384" in done.out
    assert "5 planes instead of 34" in done.out


def test_comparators_are_confirmed_beside_the_winner_and_only_there(run_small: Run) -> None:
    earlier = run_small("earlier")
    comparators = ["--confirm.comparators", "[residual_unet, earlier]"]
    warm = ["--search.warm_start", str(earlier.folder)]
    done = run_small("later", *warm, "--seed", "7", *comparators)
    assert done.status == 0, done.err
    history = done.history
    # nothing that the earlier study trained or chose on is tested on under another seed
    assert history.study.split == earlier.history.study.split
    assert history.study.split_inherited_from == str(earlier.folder)
    assert f"split inherited from {earlier.folder}" in done.out
    assert {run.role for run in history.of_phase(Phase.SEARCH)} == {Role.BASELINE, Role.SEARCHED}
    confirmed = {run.trial: run for run in history.finished(Phase.CONFIRM)}
    assert [confirmed[TrialId(number)].role for number in (0, 1)] == [Role.BASELINE] * 2
    unet, best = confirmed[TrialId(name="residual_unet")], confirmed[TrialId(name="earlier")]
    assert unet.role == best.role == Role.COMPARATOR
    assert (unet.label, best.label) == ("residual U-Net", "winner of earlier")
    winner = earlier.history.winner()
    assert winner is not None
    assert best.hyperparameters == winner.hyperparameters
    assert len({run.begun.seed for run in confirmed.values()}) == len(confirmed) == 5
    [opening] = history.openings
    assert set(opening.candidates) == set(confirmed)
    assert unet.label in done.out
    assert best.label in done.out
    assert run_small("alone", *comparators).status == 2  # without an earlier study


@pytest.mark.realdata
def test_a_finished_study_is_extended_by_trials_by_another_data_set_and_by_the_leak(
    run_small: Run, run_tiny: Run, realdata: Path, tmp_path: Path
) -> None:
    done = run_small("more")
    assert done.status == 0, done.err
    folder, before = done.folder, len(done.history.events)
    other = tmp_path / "raw5"
    bbbc005.simulate(other, from_sharp=realdata / "bbbc005", wells=10)
    added = ["--search.trials", "1", "--transfer.root", str(other), "--confirm.leak", "true"]
    done = run_tiny("--extend", str(folder), *added, folder=folder)
    assert done.status == 0, done.err
    history = done.history
    begun = [event for event in history.events[before:] if isinstance(event, TrialBegun)]
    assert [event.trial.value for event in begun if event.phase == Phase.SEARCH] == [4]
    assert [event.trial.value for event in begun if event.phase == Phase.LEAK] == [0]
    assert set(history.transfers) == {run.id for run in history.finished(Phase.CONFIRM)}
    for transfer in history.transfers.values():
        assert transfer.levels == list(bbbc005.BLURS)
        assert len(transfer.fields) == 10
    assert history.stitchings
    page = (folder / "report.html").read_text()
    assert all(
        text in page for text in ("Table 5: by blur level F", "split leaks", "bordering effect")
    )
    refused = run_tiny("--extend", str(folder), "--confirm.seconds", "9", folder=folder)
    assert refused.status == 2
    assert "confirm.seconds was None, and is to be 9.0" in refused.err
    refused = run_tiny("--extend", str(folder), "--training.epochs", "9", folder=folder)
    assert refused.status == 2
    assert "training.epochs cannot change" in refused.err
    known = len(history.events)
    done = run_tiny("--resume", str(folder), folder=folder)  # nothing is left to do
    assert done.status == 0, done.err
    assert not any(
        isinstance(event, TrialBegun | TestOpened) for event in done.history.events[known:]
    )


def test_a_baseline_that_cannot_run_fails_the_study_and_optuna_holds_what_happened(
    run_small: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    def diverging(hp: HyperParameters, sizes: Sizes) -> dict[str, Any]:
        point = paper(hp, sizes)
        return point | {"learning_rate": 1e38} if next(numbers) == 4 else point  # trial 4

    monkeypatch.setitem(search_spaces.SPACES, "paper", diverging)
    folder = tmp_path / "studies" / "broken"
    (folder / "trials").mkdir(parents=True)
    # a file where a trial wants its folder: a baseline and the first searched trial raise; the next
    # one is stopped before, and whoever comes after it has nothing of it
    for number in ("0001", "0002", "0003"):
        (folder / "trials" / number).write_text("in the way")
    done = run_small("broken", "--search.trials", "7", "--resources.max_retries", "1")
    assert done.status == 1, done.out
    assert "problem: paper's split image did not run to its end (search, seed 0)" in done.err
    runs = {run.trial.number: run for run in done.history.of_phase(Phase.SEARCH)}
    reasons = {
        number: run.end.reason
        for number, run in runs.items()
        if run.end is not None and run.status == TrialStatus.FAILED
    }
    assert set(reasons) == {1, 2, 4}
    assert reasons[4].startswith("diverged: the loss of epoch 1 is")
    for number in (1, 2):
        assert "exists" in reasons[number]
    assert runs[3].status == TrialStatus.STOPPED
    assert {run.status for run in runs.values()} == set(TrialStatus)
    held = optuna.load_study(
        study_name="broken", storage=f"sqlite:///{folder / 'optuna.db'}"
    ).trials
    told = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    assert [trial.state.name for trial in held] == [
        told[str(runs[number].status)] for number in range(9)
    ]
    assert 1 in runs[1].curve  # trained before it could not write its checkpoint
    for trial in held:
        assert trial.intermediate_values == runs[trial.number].curve
    assert {
        trial.number: trial.user_attrs["reason"] for trial in held if trial.state.name == "FAIL"
    } == reasons
    report = html.unescape((folder / "report.html").read_text())
    assert "paper's split image did not run to its end" in report


def spoil_plane_missing(root: Path) -> list[str]:
    shutil.rmtree(root / bbbc006.PLANE_FOLDER.format(level=20))
    return ["z-plane 20", "--dataset.levels"]


def spoil_one_field(root: Path) -> list[str]:
    lost = next((root / bbbc006.PLANE_FOLDER.format(level=3)).glob("*a02_s1*"))
    lost.unlink()
    return ["field a02_s1", "z-plane 3"]


def spoil_files(root: Path) -> list[str]:
    paths = [
        sorted((root / bbbc006.PLANE_FOLDER.format(level=level)).iterdir())[level % 5]
        for level in (1, 4)
    ]
    content = paths[0].read_bytes()
    paths[0].unlink()
    paths[0].write_bytes(content[: len(content) // 2])
    paths[1].unlink()
    cv2.imwrite(str(paths[1]), np.zeros((100, 100), np.uint16))
    return [paths[0].name, "truncated", paths[1].name, "(100, 100)", "2 problems"]


def spoil_everything(root: Path) -> list[str]:
    shutil.rmtree(root)
    root.mkdir()
    return ["no image of BBBC006", "refocus simulate bbbc006"]


@pytest.mark.parametrize(
    "spoil", [spoil_plane_missing, spoil_one_field, spoil_files, spoil_everything]
)
def test_a_bad_folder_ends_the_study_before_it_begins(
    spoil: Callable[[Path], list[str]], run_tiny: Run, raw_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    shutil.copytree(raw_folder, root, copy_function=lambda old, new: Path(new).symlink_to(old))
    told = spoil(root)
    options = ["--config", "smoke", "--dataset.root", str(root), "--storage", str(tmp_path)]
    options += ["--dataset.simulate.wells", "0", "--dataset.levels", "null"]
    done = run_tiny(*options, folder=tmp_path / "studies")
    assert done.status == 2, done.err
    assert [text for text in told if text not in done.err] == []
    assert not done.folder.exists()
    assert [path for path in tmp_path.glob("stores/*") if path.name.startswith(".")] == []


def test_a_study_does_not_start_where_its_record_cannot_be_kept(
    run_small: Run, run_tiny: Run, tmp_path: Path
) -> None:
    done = run_small("new", "--record.mlflow", "http://127.0.0.1:9")
    assert done.status == 2
    assert "MLflow cannot be reached at http://127.0.0.1:9" in done.err
    assert "--without-mlflow" in done.err
    assert not (tmp_path / "stores").exists()  # nothing was spent
    folder = run_small("spoilt").folder
    ledger = folder / "ledger.jsonl"
    whole = ledger.read_text()
    for spoilt, told in (
        (re.sub('"format":[0-9]+', '"format":99', whole, count=1), "written by a newer version"),
        (whole.replace('"event":"epoch"', '"event":"ep', 1), "has a corrupt line"),
    ):
        assert spoilt != whole
        ledger.write_text(spoilt)
        done = run_tiny("--resume", str(folder), folder=folder)
        assert done.status == 2
        assert told in done.err
        assert ledger.read_text() == spoilt


def test_a_plan_measures_and_leaves_nothing_behind(
    on_local_ray: None, raw_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = small("planned", raw=raw_folder, storage=tmp_path)
    status = refocus(["plan", *options])
    said = capsys.readouterr()
    assert status == 0, said.out + said.err
    lines = {
        line[:14].strip(): line[14:]
        for line in said.out.splitlines()
        if re.match(r"[a-z ]{13} ", line)
    }
    assert "10 fields at 5 levels: 6 train, 2 validation, 2 test" in lines["images"]
    assert "2 trials and 2 baselines" in lines["search"]
    assert re.search(r"^\d+:\d\d min, \d+ trials? at once", lines["in all"])
    assert lines["fits"] == "yes"
    # 6 fields at 4 defocused levels, in batches of 4
    assert re.search(r"paper's whole image +74,881 +\d+\.\d{3} +6 ", said.out)
    assert f"next          {call_run()} {shlex.join(options)}" in said.out
    assert list(tmp_path.iterdir()) == []
