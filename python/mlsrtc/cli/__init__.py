"""The command `mlsrtc`. Each subcommand is a module of this package with `add_arguments` and `run`."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 a check failed, 2 wrong usage, 130 interrupted."""
    import mlsrtc.cli.demo
    import mlsrtc.cli.inspect

    parser = argparse.ArgumentParser(prog="mlsrtc", description="End-to-end keys for Matrix calls, agreed with MLS.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, module in (("demo", mlsrtc.cli.demo), ("inspect", mlsrtc.cli.inspect)):
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
