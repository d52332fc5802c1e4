"""``python -m training COMMAND``: look at data, split it, and train, measure and export models."""

import argparse
import os
import sys
from pathlib import Path

from csss.foundation.errors import CsssError
from csss.foundation.legible import legible
from training.data_commands import REFUSED, add_data_commands
from training.model_commands import add_model_commands


def main() -> None:
    """Parse the command line and run one command; what only some commands need is imported by them alone."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.set_defaults(shared=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_model_commands(commands)
    add_data_commands(commands)
    _add_quality(commands)
    given = parser.parse_args()
    if not given.shared and int(os.environ.get("RANK", "0")) > 0:
        print("This command works in one process; the others of torchrun have nothing to do.", file=sys.stderr)
        return
    try:
        given.run(given)
    except CsssError as error:
        print(legible(error.message), file=sys.stderr)
        raise SystemExit(REFUSED) from error


def _add_quality(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    quality = commands.add_parser("quality", help="how often each check of a chest picture fires; damaged copies too")
    quality.add_argument("--data", type=Path, required=True, help="zip with manifest.csv and pictures")
    quality.add_argument("--every", type=int, default=4, help="damage one in so many of the validation pictures")
    quality.set_defaults(run=_quality)


def _quality(given: argparse.Namespace) -> None:
    from training.quality import print_quality

    print_quality(given.data, every=given.every)


if __name__ == "__main__":
    main()
