import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.cli import main
from study.command_line import CONFIG_FOLDER, configs, load, parse, parse_run
from study.config import StudyConfig, derive_seed
from study.errors import StudyError


@pytest.mark.parametrize("name", configs())
def test_named_configurations_are_sound_and_open_with_their_run_book(
    name: str, tmp_path: Path
) -> None:
    root = [] if name == "smoke" else ["--dataset.root", str(tmp_path)]
    config = parse(["--config", name, *root])
    assert config.name.startswith(f"{name}-")
    head = (CONFIG_FOLDER / f"{name}.yaml").read_text().splitlines()[:6]
    assert all(
        any(line.startswith(f"# {word}") for line in head)
        for word in ("Command:", "Hardware:", "Time:", "Outcome:")
    )


def test_only_smoke_scales_the_baselines_down() -> None:
    assert [
        name
        for name in configs()
        if "scaled_down: true" in (CONFIG_FOLDER / f"{name}.yaml").read_text()
    ] == ["smoke"]


def test_command_line_overrides_the_file_and_the_types_hold() -> None:
    config = parse(
        ["--config", "smoke", "--search.trials", "20", "--sizes.patches", "[32, 64]", "--name=x"]
    )
    assert (config.search.trials, config.sizes.patches, config.name) == (20, [32, 64], "x")
    assert config.dataset.simulate.wells == 24


def test_what_was_resolved_can_be_read_again(tmp_path: Path) -> None:
    config = parse(["--config", "smoke", "--seed", "7"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.to_dict()))
    assert load(path) == config


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--serch.trials", "3"], ["'serch.trials'", "'search.trials'"]),
        (["--search.trails", "3", "--sizes.patch", "8"], ["'search.trials'", "'sizes.patches'"]),
        (
            ["--sizes.patches", "[40]"],
            ["patch size 40", "image size 192", "16, 32, 48, 64, 96, 192"],
        ),
        (["--training.epochs", "many"], ["training.epochs", "many"]),
        (
            ["--training.epochs", "0", "--search.reduction_factor", "1", "--name", "../up"],
            [
                "training.epochs must be 1 or more; got 0",
                "search.reduction_factor must be 2 or more; got 1",
                "../up",
            ],
        ),
        (
            ["--training.epochs", "many", "--search.trials=few", "--dataset.channel", "w3"],
            ["training.epochs", "many", "search.trials", "few", "dataset.channel", "w3"],
        ),
        (
            ["--dataset.test", "1", "--search.max_tflop", "0", "--confirm.best", "-1"],
            ["dataset.test must be below 1", "search.max_tflop must be above 0", "best must be 0"],
        ),
        (
            ["--dataset.max_fields", "0", "--resources.gpus_per_trial", "-0.5"],
            ["dataset.max_fields must be 1 or more", "resources.gpus_per_trial must be 0 or more"],
        ),
        (
            ["--search.first", "[unet]", "--sizes.common", "64"],
            [
                "search.first is now search.initial_configurations",
                "sizes.common is now evaluation.resolution",
            ],
        ),
        (
            ["--confirm.marks", "[unet]", "--search.objectives", "[harmless_ssim, gflop]"],
            [
                "confirm.marks is now confirm.comparators",
                "unet of confirm.comparators is now residual_unet",
                "harmless_ssim of search.objectives is now penalized_ssim",
            ],
        ),
        (["--scaled_down", "false"], ["768", "scaled_down: true"]),
        (
            ["--search.searcher", "tpee", "--dataset.kind", "bbc006"],
            [
                "must be one of tpe, random, grid, nsga2, gp, cmaes; got 'tpee'. Did you mean tpe?",
                "must be one of bbbc005, bbbc006; got 'bbc006'. Did you mean bbbc006 or bbbc005?",
            ],
        ),
        (
            ["--search.scheduler", "ahsa", "--confirm.best", "frnt", "--training.epochs", "2.5"],
            [
                "search.scheduler must be one of asha, median, none; got 'ahsa'. Did you mean asha",
                "confirm.best must be a whole number or front; got 'frnt'. Did you mean front?",
                "training.epochs must be a whole number; got 2.5",
            ],
        ),
        (
            ["--confirm.comparators", "[unet_residual]", "--search.initial_configurations", "unet"],
            [
                "confirm.comparators must be a list in brackets, each item one of residual_unet, ",
                "got ['unet_residual']. Did you mean residual_unet?",
                "each item one of unet, robust, context; got 'unet'",
            ],
        ),
        (
            ["--scaled_down", "maybe", "--search.level_weights", "{far: 2}", "--dataset", "5"],
            [
                "scaled_down must be true or false; got 'maybe'",
                "each item a whole number : a number or null; got {'far': 2}",
                "dataset must name a YAML file that holds its keys; got 5",
            ],
        ),
        (["--trials", "3"], ["'trials'", "the nearest is 'search.trials'"]),
        (["--dataset.test", "0"], ["dataset.test must be above 0"]),
        (
            ["--dataset.test", "0.9", "--dataset.validation", "0.1"],
            ["must leave wells to train on"],
        ),
        (["--dataset.root", "x"], ["either dataset.root", "simulate.wells"]),
        (["--dataset.kind", "bbbc005"], ["from_sharp"]),
        (["--name", "../up"], ["../up"]),
        (["--dataset.kind", "bbbc007"], ["dataset.kind", "bbbc007"]),
        (["--confirm.best", "front"], ["confirm.best: front needs costs in search.objectives"]),
        (
            ["--search.searcher", "cmaes", "--search.objectives", "[ssim, parameters]"],
            ["cmaes takes one objective"],
        ),
        (
            ["--warm-start", "nowhere"],
            ["search.warm_start must name the folder of a study", "nowhere"],
        ),
    ],
)
def test_bad_configurations_name_every_culprit_and_the_remedy(
    arguments: list[str], told: list[str]
) -> None:
    with pytest.raises(StudyError) as error:
        parse(["--config", "smoke", *arguments])
    assert [text for text in told if text not in str(error.value)] == []


def make_study(folder: Path, **changes: Any) -> Path:
    config = parse(
        ["--config", "smoke", "--name", folder.name, "--storage", str(folder.parents[1])]
    ).to_dict()
    config["search"] |= changes
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "ledger.jsonl").touch()
    return folder


def test_an_extension_adds_trials_to_those_that_there_are(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "studies" / "mine", trials=60)
    config, begun = parse_run(
        ["--extend", str(folder), "--search.trials", "20", "--confirm.replicates", "5"]
    )
    assert (config.search.trials, config.confirm.replicates, config.folder, begun) == (
        80,
        5,
        folder,
        True,
    )
    assert parse_run(["--extend", str(folder), "--confirm.replicates", "5"])[0].search.trials == 60
    assert parse_run([f"--extend={folder}", "--search.trials=20"])[0].search.trials == 80
    with pytest.raises(StudyError, match=r"search\.trials must be 1 or more; got 0"):
        parse_run(["--extend", str(folder), "--search.trials", "0"])
    with pytest.raises(StudyError, match=r"training\.epochs cannot change"):
        parse_run(["--extend", str(folder), "--training.epochs", "9"])
    with pytest.raises(StudyError, match=r"'trainig\.epochs'.* nearest is 'training\.epochs'"):
        parse_run(["--extend", str(folder), "--trainig.epochs", "9"])


def test_a_study_that_has_begun_needs_neither_its_earlier_study_nor_the_folder_it_was_typed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(tmp_path / "results" / "studies" / "earlier")
    monkeypatch.chdir(tmp_path)
    fresh = parse(["--config", "smoke", "--warm-start", "earlier"])
    assert fresh.search.warm_start == str(tmp_path / "results" / "studies" / "earlier")
    assert (
        parse(["--config", "smoke", "--warm-start=results/studies/earlier"]).search.warm_start
        == fresh.search.warm_start
    )
    later = make_study(tmp_path / "studies" / "later", warm_start=str(tmp_path / "gone"))
    assert parse_run(["--resume", str(later)])[0].search.warm_start == str(tmp_path / "gone")
    assert load(later / "config.yaml").search.warm_start == str(tmp_path / "gone")


def test_weights_by_level_come_back_from_a_file(tmp_path: Path) -> None:
    weights = parse(
        ["--config", "smoke", "--search.level_weights", "{10: 3, 12: 0.5}"]
    ).search.level_weights
    assert weights == {10: 3.0, 12: 0.5}
    folder = make_study(tmp_path / "studies" / "mine", level_weights=weights)
    assert load(folder / "config.yaml").search.level_weights == weights
    assert parse_run(["--resume", str(folder)])[0].search.level_weights == weights


def test_unknown_keys_of_a_file_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("dataset: {roots: x, kinds: y}\nserch: {trials: 2}\n")
    with pytest.raises(
        StudyError,
        match=r"(?s)'dataset\.roots'.*'dataset\.root'.*'dataset\.kinds'.*'serch'.*'search'",
    ) as error:
        parse(["--config", str(path)])
    assert str(error.value).count("unknown key") == 3


def test_old_keys_of_a_file_are_all_named_with_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("sizes: {common: 64}\nconfirm: {marks: [unet]}\ndataset: 5\n")
    with pytest.raises(StudyError) as error:
        parse(["--config", str(path)])
    assert [
        text
        for text in (
            "sizes.common is now evaluation.resolution (in ",
            "confirm.marks is now confirm.comparators (in ",
            "the value unet of confirm.comparators is now residual_unet (in ",
            "dataset must hold keys and values in ",
        )
        if text not in str(error.value)
    ] == []


def test_a_study_of_an_earlier_version_is_resumed_and_extended(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "studies" / "mine", objectives=["harmless_ssim"], first=["unet"])
    values = yaml.safe_load((folder / "config.yaml").read_text())
    del values["search"]["initial_configurations"], values["evaluation"]["resolution"]
    del values["confirm"]["comparators"]
    values["sizes"]["common"], values["confirm"]["marks"] = 64, ["unet"]
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(StudyError, match=r"sizes\.common is now evaluation\.resolution"):
        parse(["--config", str(folder / "config.yaml")])
    for config in (
        load(folder / "config.yaml"),
        parse_run(["--resume", str(folder)])[0],
        parse_run(["--extend", str(folder), "--confirm.replicates", "2"])[0],
    ):
        assert config.search.objectives == ["penalized_ssim"]
        assert config.search.initial_configurations == ["unet"]
        assert config.confirm.comparators == ["residual_unet"]
        assert config.evaluation.resolution == 64
    with pytest.raises(StudyError, match=r"search\.first is now search\.initial_configurations"):
        parse_run(["--extend", str(folder), "--search.first", "[robust]"])


def section_keys(cls: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key, and the text of its docstring."""
    text = inspect.getdoc(cls) or ""
    for item in dataclasses.fields(cls):
        hint = typing.get_type_hints(cls)[item.name]
        if dataclasses.is_dataclass(hint):
            yield from section_keys(typing.cast(type, hint), f"{prefix}{item.name}.")
        else:
            told = re.search(rf"^{item.name} : .*\n((?:    .*\n?)+)", text, re.MULTILINE)
            yield prefix + item.name, " ".join(told[1].split()) if told else ""


def is_sentence(option: str) -> bool:
    """Whether an option's text, behind its names and before its type, is one or more whole ones."""
    text = option.partition(" (type:")[0]
    return len(text.split()) >= 4 and text.endswith(".")


@pytest.mark.parametrize("command", ["run", "plan", "prepare"])
def test_help_shows_the_whole_text_of_every_option(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    usage, *options = re.split(r"\n +(?=-)", capsys.readouterr().out)
    assert f"usage: {'python study/run.py' if command == 'run' else f'refocus {command}'} " in usage
    texts = [option.partition("\n\n")[0] for option in options]  # without the next section's title
    shown = {text.split()[0].rstrip(","): " ".join(text.split()) for text in texts}
    assert len(shown) > 60
    assert [name for name, text in shown.items() if not is_sentence(text)] == []
    assert [
        key
        for key, text in section_keys(StudyConfig)
        if not text or f" {text} (type:" not in shown[f"--{key}"]
    ] == []


@pytest.mark.parametrize(
    "command",
    [
        ["repro"],
        ["report"],
        ["sync"],
        ["restore"],
        ["space"],
        ["simulate", "bbbc005"],
        ["simulate", "bbbc006"],
    ],
)
def test_help_has_a_text_for_every_argument_of_a_command(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    _, *arguments = re.split(r"\n  (?=\S)", capsys.readouterr().out)
    assert arguments
    texts = [argument.partition("\n\n")[0].strip() for argument in arguments]
    assert [text for text in texts if not re.search(r"\S\s{2,}\S", text)] == []


def test_a_file_is_printed_as_it_was_understood(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--config", "smoke", "--search.trials", "3", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["search"]["trials"], printed["dataset"]["simulate"]["wells"]) == (3, 24)


def test_a_configuration_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(StudyError, match="baseline_only, beyond_search, paper_search, smoke"):
        parse(["--config", "nothing"])
    with pytest.raises(StudyError, match=r"got 'smok'\. Did you mean smoke\?"):
        parse(["--config", "smok"])


def test_seeds_differ_by_every_part_and_come_back() -> None:
    assert derive_seed(0, "trial", 1) == derive_seed(0, "trial", 1)
    assert (
        len(
            {
                derive_seed(study, what, trial)
                for study in range(3)
                for what in ("trial", "confirm")
                for trial in range(50)
            }
        )
        == 300
    )
    assert 0 <= derive_seed("x") < 2**31
