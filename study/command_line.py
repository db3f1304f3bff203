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
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from study.config import StudyConfig
from study.errors import StudyError, raise_all
from study.validation import validate

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


def configs() -> list[str]:
    """Return the names of the studies that come with the program."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml"))


def parse(arguments: Sequence[str], *, begun: bool = False) -> StudyConfig:
    """Build a sound configuration from the command line.

    Parameters
    ----------
    arguments : sequence of str
        ``--config NAME|FILE`` (a name from `study/configs` or a YAML file) and any dotted key with
        its value; ``--without-mlflow``; ``--warm-start STUDY``.
    begun : bool
        It is that of a study that has begun: what is needed only to begin one is not asked for.

    Raises
    ------
    StudyError
        If a key is unknown (the nearest one is named), a value has the wrong type, or the whole
        does not fit together.
    SystemExit
        After ``--help`` and ``--print_config``.
    """
    arguments = _with_config_file(
        [word for argument in arguments for word in _without_alias(argument)]
    )
    _check_names(arguments)
    try:
        namespace = _parser().parse_args(arguments)
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(_reading_problem(error)) from None
    except Exception as error:  # the parser's own error class; its text names the key
        if type(error).__name__ != "ArgumentError":
            raise
        raise StudyError(_reading_problem(error)) from None
    config = _build(StudyConfig, namespace)
    if not config.name:
        stem = Path(str(namespace.config[-1])).stem if namespace.config else "study"
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
        if not key.startswith(EXTENDABLE)
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


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python study/run.py",
        exit_on_error=False,
        description="Run a study.",
        default_env=False,
    )
    parser.add_argument(
        "--config", action=ActionConfigFile, help=f"a YAML file, or one of: {', '.join(configs())}"
    )
    parser.add_class_arguments(StudyConfig)
    return parser


def _reading_problem(error: Exception) -> str:
    return f"the configuration cannot be read: {' '.join(str(error).split())}"


def _with_config_file(arguments: list[str]) -> list[str]:
    """Replace the name of a study that comes with the program by the path of its file."""
    for index, argument in enumerate(arguments):
        value = argument.partition("=")[2] if argument.startswith("--config=") else ""
        if argument == "--config" and index + 1 < len(arguments):
            value = arguments[index + 1]
        if not value:
            continue
        path = Path(value) if Path(value).is_file() else CONFIG_FOLDER / f"{value}.yaml"
        if not path.is_file():
            raise StudyError(
                f"--config must name a YAML file or one of: {', '.join(configs())}; got {value!r}"
            )
        if argument == "--config":
            arguments[index + 1] = str(path)
        else:
            arguments[index] = f"--config={path}"
    return arguments


def _check_names(arguments: list[str]) -> None:
    """Name every unknown key of the file and of the command line, each with the nearest known
    one.
    """
    known = list(_known_keys(StudyConfig))
    used: list[tuple[str, str]] = []
    for index, argument in enumerate(arguments):
        if argument.startswith("--"):
            used.append((argument[2:].partition("=")[0], "on the command line"))
        path = argument.partition("=")[2] if argument.startswith("--config=") else ""
        if argument == "--config" and index + 1 < len(arguments):
            path = arguments[index + 1]
        if path:
            try:
                values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise StudyError(f"{path} is not YAML: {error}") from None
            if not isinstance(values, Mapping):
                raise StudyError(f"{path} must hold keys and values; got {type(values).__name__}")
            used.extend((key, f"in {path}") for key in _keys_of(values, known))
    accepted = {*known, "config", "help", "print_config"}
    problems = []
    for key, where in used:
        if key not in accepted:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            leaf = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
            problems.append(f"unknown key {key!r} {where}; the nearest is {(leaf or near)[0]!r}")
    raise_all(
        problems, heading="The configuration has unknown keys (`--help` lists the known ones)"
    )


def _known_keys(cls: type, prefix: str = "") -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        yield prefix + item.name
        if dataclasses.is_dataclass(hints[item.name]):
            yield from _known_keys(typing.cast(type, hints[item.name]), f"{prefix}{item.name}.")


def _keys_of(values: Mapping[Any, Any], known: Sequence[str], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        section = any(
            name.startswith(f"{prefix}{key}.") for name in known
        )  # or a value that is a mapping, such as weights by level
        if isinstance(value, Mapping) and section:
            yield from _keys_of(value, known, f"{prefix}{key}.")


def _build(cls: type, values: Namespace | Mapping[str, Any]) -> Any:
    """Turn the parser's namespaces into the dataclass that they fill."""
    hints = typing.get_type_hints(cls)
    arguments = {}
    for item in dataclasses.fields(cls):
        value, hint = values[item.name], hints[item.name]
        nested = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        if nested and not isinstance(value, Namespace | Mapping):
            raise StudyError(
                f"{item.name} must hold keys and values; got {value!r}. Leave it out to have its"
                " defaults"
            )
        arguments[item.name] = _build(hint, value) if nested else value
    return cls(**arguments)
