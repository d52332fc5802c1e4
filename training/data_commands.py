"""The commands that only look at data (``split``, ``lint``): their arguments and how they end. No torch here."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from csss.foundation.errors import CsssError
from training.archive import SplitLeak
from training.datasets import Dataset, Layout, read_dataset, to_five_labels

REFUSED = 2
"""Exit code when the data cannot be read; 1 means that lint found something serious."""


def add_data_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``split`` and ``lint`` to the commands of `python -m training`."""
    split = commands.add_parser("split", help="train, val and test by patient or group, alike in label and source")
    _add_data(split, needed=True)
    split.add_argument("--out", type=Path, required=True, help="folder for split.csv, split.png, split.log, split.json")
    split.add_argument("--shares", default="70/15/15", help="of train, val and test")
    split.add_argument("--seed", type=int, default=42)
    split.add_argument("--keep-official", action="store_true", help="keep the split that the data brings")
    split.add_argument("--five-labels", action="store_true", help="relabel a public layout to the five chest labels")
    split.add_argument("--pack", action="store_true", help="also write data.zip, which the model commands read")
    split.set_defaults(run=lambda given: _end(_split, given))
    lint = commands.add_parser("lint", help="what in the data would make the figures of a model untrue")
    _add_data(lint, needed=False)
    lint.add_argument("--model-table", type=Path, help="CSV: class,n,sensitivity,specificity,precision,f1")
    lint.add_argument("--out", type=Path, help="report.md to write, with report.json beside it; else it is printed")
    lint.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="processes")
    lint.set_defaults(run=lambda given: _end(_lint, given))


def _end(command: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> NoReturn:
    try:
        raise SystemExit(command(given))
    except (CsssError, SplitLeak) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(REFUSED) from error


def _add_data(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    parser.add_argument("data", type=Path, nargs=None if needed else "?", help="folder or zip")
    parser.add_argument("--layout", type=Layout, choices=tuple(Layout), help="when it should not be recognised")
    parser.add_argument("--label-column", default="label", help="column of manifest.csv that says the label")


def _read(given: argparse.Namespace) -> Dataset:
    return read_dataset(given.data, layout=given.layout, label_column=given.label_column)


def _split(given: argparse.Namespace) -> int:
    # Drawing needs matplotlib, which only this command wants.
    from training.split import Plan, parse_shares, split_dataset
    from training.split_files import PACKED, hash_files, pack_division, refuse_overwriting, write_division

    refuse_overwriting(given.out, packed=given.pack)
    plan = Plan(parse_shares(given.shares), given.seed, given.keep_official)
    dataset = to_five_labels(_read(given)) if given.five_labels else _read(given)
    dataset = hash_files(dataset)
    division = split_dataset(dataset, plan)
    write_division(division, plan, given.out, command=shlex.join(("python", "-m", "training", *sys.argv[1:])))
    if given.pack:
        pack_division(dataset, division, given.out / PACKED)
    print((given.out / "split.log").read_text(), end="")
    return 0


def _lint(given: argparse.Namespace) -> int:
    from training.lint import lint_dataset, lint_table
    from training.lint.report import write_report

    if given.data is None and given.model_table is None:
        print("error: give data, --model-table, or both", file=sys.stderr)
        return REFUSED
    table = lint_table(given.model_table) if given.model_table else ()
    report = lint_dataset(_read(given) if given.data else None, table, jobs=given.jobs)
    text = write_report(report, given.out)
    print(text if given.out is None else f"{given.out}: {report.summary}")
    return 1 if report.is_serious else 0
