"""Runs every public function of the program that calls it. Each has one sentence of docs/how-to/migrate.md as its
docstring, and fails unless it is so."""

import inspect
import sys


def check() -> None:
    main = sys.modules["__main__"]
    for name, function in vars(main).items():
        if inspect.isfunction(function) and function.__module__ == "__main__" and not name.startswith("_"):
            function()
            print(name)
