"""YAML and the command line -> a sound `StudyConfig`.

A named study is a file in `study/configs`. Every key can be given on the command line with its
dotted name, such as ``--search.trials 20``. Nothing is read, trained or written before the whole
configuration was found sound.
"""

from __future__ import annotations

import dataclasses
import difflib
import time
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentError,
    ArgumentParser,
)

from study.config import StudyConfig
from study.errors import StudyError, raise_all
from study.renamed import current_config, find_renamed
from study.validation import validate
from study.wanted_values import did_you_mean, wrong_value

WITHOUT_MLFLOW = "--without-mlflow"
ALIASES = {WITHOUT_MLFLOW: ["--record.mlflow", "none"], "--warm-start": ["--search.warm_start"]}
EXTENDABLE = (
    "search.trials",
    "search.searcher",
    "search.initial_configurations",
    "confirm.",
    "transfer.",
    "resources.",
    "record.",
)
CONFIG_FOLDER = Path(__file__).parent / "configs"
PROGRAM = "python study/run.py"
UNREADABLE = "The configuration cannot be read"


@dataclasses.dataclass(frozen=True)
class _Given:
    """A key, and its value as a file or the command line gives it.

    Parameters
    ----------
    key : str
        With dots.
    value : Any
        As YAML reads it.
    file : Path, optional
        That holds it.
    word : str
        Option and value, as on the command line.
    """

    key: str
    value: Any
    file: Path | None = None
    word: str = ""

    @property
    def where(self) -> str:
        return f"in {self.file}" if self.file else "on the command line"


def configs() -> list[str]:
    """Return the names of the studies that come with the program."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml"))


def parse(arguments: Sequence[str], *, begun: bool = False, program: str = PROGRAM) -> StudyConfig:
    """Build a sound configuration from the command line.

    Parameters
    ----------
    arguments : sequence of str
        ``--config NAME|FILE`` (a name from `study/configs` or a YAML file) and any dotted key with
        its value; ``--without-mlflow``; ``--warm-start STUDY``.
    begun : bool
        It is that of a study that has begun: what is needed only to begin one is not asked for.
    program : str
        The command that its help names.

    Raises
    ------
    StudyError
        If a key is unknown (the nearest one is named), a value has the wrong type, or the whole
        does not fit together.
    SystemExit
        After ``--help`` and ``--print_config``.
    """
    words, given = _read(arguments, begun=begun)
    _check_names(given)
    parser = _parser(program)
    try:
        values = vars(parser.instantiate(parser.parse_args(words)))
    except ArgumentError as error:
        raise_all([*_wrong_values(parser, given)] or [_told(error)], heading=UNREADABLE)
        raise
    del values["config"]
    config = StudyConfig(**values)
    if not config.name:
        stem = ["study", *(one.file.stem for one in given if one.file)][-1]
        config = dataclasses.replace(config, name=f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    if config.search.warm_start is not None and not begun:
        earlier = find_study(config.search.warm_start) or Path(config.search.warm_start)
        config = dataclasses.replace(
            config, search=dataclasses.replace(config.search, warm_start=str(earlier.resolve()))
        )
    validate(config, begun=begun)
    return config


def find_study(name: str) -> Path | None:
    """Return the folder of a study that is named by its path, or by its name in results/studies;
    None if there is none.
    """
    return next(
        (
            path
            for path in (Path(name), Path("results/studies") / name)
            if name and (path / "config.yaml").is_file()
        ),
        None,
    )


def parse_run(arguments: Sequence[str]) -> tuple[StudyConfig, bool]:
    """Build the configuration of a run: of a new study, or (and then the second value is true) of
    one to go on with.

    Parameters
    ----------
    arguments : sequence of str
        As for `parse`; or ``--resume STUDY`` alone; or ``--extend STUDY`` and keys that may change:
        `EXTENDABLE`. Of these ``search.trials`` is how many more.
    """
    arguments = list(arguments)
    without = [argument for argument in arguments if argument == WITHOUT_MLFLOW]
    arguments = [argument for argument in arguments if argument != WITHOUT_MLFLOW]
    mode = arguments[0].lstrip("-").partition("=")[0] if arguments else ""
    if mode not in ("resume", "extend") or not arguments[0].startswith("--"):
        for option in ("--resume", "--extend"):
            if any(argument.partition("=")[0] == option for argument in arguments):
                raise StudyError(f"{option} comes first: python study/run.py {option} STUDY")
        return parse([*arguments, *without]), False
    value = arguments[0].partition("=")[2] or (arguments[1] if len(arguments) > 1 else "")
    changes = arguments[1 if "=" in arguments[0] else 2 :]
    folder = find_study(value)
    if folder is None:
        raise StudyError(
            f"--{mode} must name the folder of a study; got {value!r}, which holds no config.yaml"
        )
    folder = folder.resolve()
    if mode == "resume" and changes:
        raise StudyError(
            f"--resume resumes the study as it was configured; to change it: --extend {folder}"
            f" {' '.join(changes)}"
        )
    if mode == "extend" and not changes and not without:
        raise StudyError(
            "--extend needs something to add, such as --search.trials N; to finish the study as it"
            f" is: --resume {folder}"
        )
    used = [argument[2:].partition("=")[0] for argument in changes if argument.startswith("--")]
    fixed = [
        f"{key} cannot change: the trials that are done rest on it"
        for key in used
        if not key.startswith(EXTENDABLE) and key in dict(_known_keys(StudyConfig))
    ]
    raise_all(
        fixed,
        heading=f"A study is extended by {', '.join(name.rstrip('.') for name in EXTENDABLE)}",
    )
    place = ["--storage", str(folder.parents[1]), "--name", folder.name]
    held = load(folder / "config.yaml")
    config = parse(
        ["--config", str(folder / "config.yaml"), *place, *changes, *without], begun=True
    )
    if "search.trials" in used:
        total = held.search.trials + config.search.trials
        config = dataclasses.replace(
            config, search=dataclasses.replace(config.search, trials=total)
        )
    return config, True


def load(path: Path) -> StudyConfig:
    """Read the resolved configuration that a study left beside its results."""
    return parse(["--config", str(path)], begun=True)


def _without_alias(argument: str) -> list[str]:
    name, equals, value = argument.partition("=")
    return [*ALIASES[name], *([value] if equals else [])] if name in ALIASES else [argument]


def _parser(program: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=program,
        exit_on_error=False,
        description="Run a study, of a configuration or of an earlier one: --resume STUDY alone,"
        " or --extend STUDY and what is added. --without-mlflow keeps no mirror; --warm-start STUDY"
        " learns from an earlier one.",
        default_env=False,
    )
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        help=f"A YAML file, or the name of one of the program's: {', '.join(configs())}.",
    )
    parser.add_class_arguments(StudyConfig)
    return parser


def _read(arguments: Sequence[str], *, begun: bool) -> tuple[list[str], list[_Given]]:
    """Return the words for the parser, with what the files hold in the files' places; and every
    key that a file or the command line gives.
    """
    words, given = [], []
    left = [word for argument in arguments for word in _without_alias(argument)]
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not equals and left and not left[0].startswith("--"):
            equals, value = "=", left.pop(0)
        if name == "--config":
            path = _config_file(value)
            values = _read_file(path)
            values = current_config(values) if begun else values
            given += [_Given(key, one, file=path) for key, one in _leaves(values)]
            value = yaml.safe_dump(values)
        elif name.startswith("--"):
            given += [
                _Given(key, one, word=f"{name}{equals}{value}")
                for key, one in _leaves({name[2:]: _as_yaml(value)})
            ]
        words.append(f"{name}{equals}{value}")
    return words, given


def _config_file(name: str) -> Path:
    """Return the YAML file that ``--config`` names: its path, or the name of a study that comes
    with the program.
    """
    path = Path(name) if Path(name).is_file() else CONFIG_FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise StudyError(
            f"--config must name a YAML file or one of: {', '.join(configs())}; got"
            f" {name!r}{did_you_mean(name, configs())}"
        )
    return path


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path} must hold keys and values; got {type(values).__name__}")
    return values


def _as_yaml(word: str) -> Any:
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def _check_names(given: Sequence[_Given]) -> None:
    """Name every unknown or old key of the files and of the command line, each with the nearest
    known one or the new one, and every section of a file that holds no keys.
    """
    known = [key for key, _ in _known_keys(StudyConfig)]
    accepted, sections = {*known, "help", "print_config"}, _sections()
    problems = []
    for one in given:
        if renamed := [*find_renamed(one.key, one.value)]:
            problems += [f"{change} ({one.where})" for change in renamed]
        elif one.key in sections and one.file:
            problems.append(
                f"{one.key} must hold keys and values {one.where}; got {one.value!r}. Leave it"
                " out to have its defaults"
            )
        elif one.key not in accepted:
            near = difflib.get_close_matches(one.key, known, n=1, cutoff=0.0)
            leaf = [name for name in known if name.rpartition(".")[2] == one.key.rpartition(".")[2]]
            problems.append(
                f"unknown key {one.key!r} {one.where}; the nearest is {(leaf or near)[0]!r}"
            )
    raise_all(problems, heading="The configuration has wrong keys (`--help` lists the known ones)")


def _wrong_values(parser: ArgumentParser, given: Sequence[_Given]) -> Iterator[str]:
    """Name every value that cannot be read; the parser itself stops at the first."""
    hints = dict(_known_keys(StudyConfig))
    for one in given:
        try:
            if one.word:
                parser.parse_args([one.word])
            else:
                parser.parse_object({one.key: one.value})
        except ArgumentError:
            if one.key in _sections():
                yield f"{one.key} must name a YAML file that holds its keys; got {one.value!r}"
            else:
                yield wrong_value(one.key, one.value, hints[one.key])


def _told(error: ArgumentError) -> str:
    return " ".join(str(error).removeprefix("Parser key ").split())


def _known_keys(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key, sections too, and its type."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        yield prefix + item.name, hints[item.name]
        if dataclasses.is_dataclass(hints[item.name]):
            yield from _known_keys(typing.cast(type, hints[item.name]), f"{prefix}{item.name}.")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return dotted keys and their values; a value may itself be a mapping, of weights by level."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key in _sections():
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _sections() -> set[str]:
    return {key.rpartition(".")[0] for key, _ in _known_keys(StudyConfig)}
