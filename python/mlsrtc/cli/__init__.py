"""The command `mlsrtc`. Each subcommand is a module of this package with `add_arguments` and `run`."""

import argparse
import os
import sys
from collections.abc import Sequence

INTERRUPTED, PIPE_CLOSED = 130, 141  # as a shell tells SIGINT and SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 a check failed, 2 wrong usage, 130 interrupted, 141
    nobody reads what is written."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered goes nowhere when the interpreter flushes it at its end, instead of failing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(arguments: Sequence[str] | None) -> int:
    import mlsrtc.cli.call
    import mlsrtc.cli.demo
    import mlsrtc.cli.inspect
    import mlsrtc.cli.simulate

    parser = argparse.ArgumentParser(prog="mlsrtc", description="End-to-end keys for Matrix calls, agreed with MLS.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for module in (mlsrtc.cli.demo, mlsrtc.cli.call, mlsrtc.cli.inspect, mlsrtc.cli.simulate):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    return int(options.run(options))
