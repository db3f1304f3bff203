"""The `refocus` command."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from study.command_line import load, parse
from study.config import SizesConfig
from study.errors import StudyError
from study.libraries import quiet_import
from study.programs import call_run
from study.restore_command import add_arguments
from study.restore_command import restore as restore_images

SYNC_PATIENCE_S = 120.0
SPACE_NAMES = ("paper", "beyond")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit status: 0 done, 1 the study is not complete, 2 bad
    input.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["run"]:  # its options are the keys of the configuration
        from study.run import main as run

        return run(arguments[1:])
    for name, command in (("prepare", _prepare), ("plan", _plan)):  # theirs too
        if arguments[:1] == [name]:
            return _reporting(functools.partial(command, arguments[1:]))
    options = _parser().parse_args(arguments)
    return _reporting(lambda: options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refocus", description="Which autoencoder sharpens out-of-focus cell images best?"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    # `main` takes them before
    for name, text in (
        ("run", "run a study: refocus run --config NAME|FILE [--key value ...]"),
        ("prepare", "check a raw folder and make its store, with the options of `run`"),
        ("plan", "measure what a study will take, with the options of `run`, and whether it fits"),
    ):
        commands.add_parser(name, help=text, add_help=False)
    _add_study_command(
        commands, "report", "write a study's report.html again from its ledger", _report
    )
    repro = _add_study_command(
        commands,
        "repro",
        "train a trial again from the record alone, and compare every number",
        _repro,
    )
    repro.add_argument("trial", help="its number in the report, or a comparator's name")
    repro.add_argument(
        "--phase",
        choices=("search", "confirm", "leak"),
        help="search if the trial was searched, else confirm",
    )
    repro.add_argument(
        "--replicate", type=int, default=0, help="which of its seeds, from 0 on; 0 if not given"
    )
    sync = _add_study_command(
        commands, "sync", "bring an MLflow server as far as a study's ledger is", _sync
    )
    sync.add_argument("--uri", help="tracking URI; the study's own if not given")
    sync.add_argument("--experiment", help="the study's own if not given")
    sync.add_argument(
        "--all",
        action="store_true",
        help="send everything again, whatever the server was sent before; nothing is there twice",
    )
    images = _add_study_command(
        commands, "restore", "sharpen your own images with a network of a study", restore_images
    )
    add_arguments(images)
    space = commands.add_parser(
        "space",
        help="show a search space: hyperparameters, number of configurations, the baselines in it",
    )
    space.add_argument("name", choices=SPACE_NAMES, help="which of the search spaces")
    space.set_defaults(command=_space)
    _add_simulate(commands)
    return parser


def _add_study_command(
    commands: Any, name: str, text: str, command: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("study", type=Path, help="the study's folder")
    parser.set_defaults(command=command)
    return parser


def _add_simulate(commands: Any) -> None:
    simulate = commands.add_parser(
        "simulate", help="make a small raw folder in the layout of a data set"
    )
    kinds = simulate.add_subparsers(title="data sets", required=True, metavar="KIND")
    human = kinds.add_parser(
        "bbbc006", help="z-stacks of 34 planes: procedural nuclei, or real in-focus images blurred"
    )
    human.add_argument("folder", type=Path, help="a new folder")
    human.add_argument(
        "--from-sharp", type=Path, metavar="FOLDER", help="real in-focus images, 520 x 696"
    )
    human.add_argument("--wells", type=int, default=24, help="how many; 24 if not given")
    human.add_argument(
        "--fields-per-well", type=int, default=1, help="fields of view in each; 1 if not given"
    )
    human.add_argument("--seed", type=int, default=0, help="of the images; 0 if not given")
    human.set_defaults(command=_simulate_bbbc006)
    synthetic = kinds.add_parser("bbbc005", help="all 16 blur levels from real F1 images")
    synthetic.add_argument("folder", type=Path, help="a new folder")
    synthetic.add_argument(
        "--from-sharp",
        type=Path,
        metavar="FOLDER",
        required=True,
        help="holds SIMCEPImages_*_F1_*_w1.TIF",
    )
    synthetic.add_argument(
        "--scenes", type=int, help="how many, evenly over the cell counts; all if not given"
    )
    synthetic.set_defaults(command=_simulate_bbbc005)


def _reporting(command: Callable[[], int]) -> int:
    try:
        return command()
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _prepare(arguments: Sequence[str]) -> int:
    from study.workflow.setup import prepare_store

    store = prepare_store(parse(arguments, program="refocus prepare"), print)
    print(f"store: {store.folder}")
    return 0


def _plan(arguments: Sequence[str]) -> int:
    config = parse(arguments, program="refocus plan")
    with quiet_import():
        from study.planning.plan import make_plan
    plan = make_plan(config, print)
    print("\n" + "\n".join(plan.lines))
    if not plan.problems:
        print(f"next          {call_run()} {shlex.join(arguments)}")
    return 1 if plan.problems else 0


def _report(options: argparse.Namespace) -> int:
    from analysis.report import main as report

    return report([str(options.study)])


def _space(options: argparse.Namespace) -> int:
    with quiet_import():
        from search_spaces import SPACES
        from search_spaces.sizes import Sizes
        from study.planning.spaces import describe_space
    sizes = SizesConfig()
    offered = Sizes(sizes.whole, sizes.split, sizes.patches, sizes.crops)
    print(describe_space(options.name, SPACES[options.name], offered))
    print(
        f"Image sizes {sizes.whole} and {sizes.split}, patches {sizes.patches}: as in a study"
        " without keys of its own under sizes."
    )
    return 0


def _repro(options: argparse.Namespace) -> int:
    from study.record.identities import Phase, TrialId
    from study.record.ledger import read_history

    with quiet_import():
        from study.workflow.reproduce import find_run, repeat, task_of
    history = read_history(options.study)
    phase = Phase(options.phase) if options.phase else None
    run = find_run(history, TrialId.parse(options.trial), phase=phase, replicate=options.replicate)
    print(f"{run.label} ({run.id.phase}, replicate {run.id.replicate}), {run.hyperparameters}")
    same = repeat(task_of(options.study, history, run), run, print)
    print(
        "every number came back"
        if same
        else (
            "not every number came back: another machine, device or number of threads changes the"
            " last digits"
        )
    )
    return 0 if same else 1


def _sync(options: argparse.Namespace) -> int:
    from analysis.conclusion import conclude, report_is_old, summarize
    from analysis.figures import draw_trial
    from study.record.ledger import read_history

    history = read_history(options.study)
    with quiet_import():
        from study.record.mirror import Mirror
        from study.workflow.setup import tracking_uri
    folder = options.study.resolve()
    config = dataclasses.replace(load(folder / "config.yaml"), storage=str(folder.parents[1]))
    uri = options.uri or tracking_uri(config)
    if uri is None:
        raise StudyError(
            f"{options.study} was run without MLflow: name a server, --uri http://127.0.0.1:5000"
        )
    mirror = Mirror(
        folder,
        uri=uri,
        experiment=options.experiment or config.record.experiment,
        draw=draw_trial,
        conclude=summarize,
        again=options.all,
    )
    mirror.check()
    print(f"{len(history.events)} events of {options.study} -> {uri}")
    outcome = None
    if history.ended:
        outcome = conclude(folder, history, write=report_is_old(folder))
    mirror.start(run=history.ends[-1].run if history.ended else None)
    left = mirror.close(outcome=outcome, patience_s=SYNC_PATIENCE_S, log=print)
    print(
        f"{left} events are not there: {mirror.failure}. Run it again"
        if left or mirror.failure
        else "all of them are there"
    )
    if outcome is not None and outcome.problem:
        print(f"problem: {outcome.problem}", file=sys.stderr)
        return 1
    return 1 if left or mirror.failure else 0


def _simulate_bbbc006(options: argparse.Namespace) -> int:
    from study.data.layouts import bbbc006

    count = bbbc006.simulate(
        options.folder,
        wells=options.wells,
        fields_per_well=options.fields_per_well,
        from_sharp=options.from_sharp,
        seed=options.seed,
    )
    return _made(options.folder, count, "bbbc006")


def _simulate_bbbc005(options: argparse.Namespace) -> int:
    from study.data.layouts import bbbc005

    return _made(
        options.folder,
        bbbc005.simulate(options.folder, from_sharp=options.from_sharp, wells=options.scenes),
        "bbbc005",
    )


def _made(folder: Path, images: int, kind: str) -> int:
    print(f"{images} images in {folder}")
    print(
        f"next: {call_run()} --config paper_search --dataset.kind {kind} --dataset.root"
        f" {shlex.quote(str(folder))}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
