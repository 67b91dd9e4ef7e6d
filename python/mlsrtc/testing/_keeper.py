"""A small parent for one server: ends it and removes its directory when its own parent has gone.

Run as a script (`python -I -S _keeper.py DIRECTORY COMMAND ...`), with a pipe as standard input whose other
end only the parent holds: it closes however the parent ends, by `close()`, an exception or SIGKILL. Tells on
standard output `pid N` once and `ended STATUS` if the server ends by itself; then it still waits for the
parent, so that the logs of a server that did not come up can be read. Knows the standard library only.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from types import FrameType

GRACE = 3.0  # seconds a server gets to end by itself
LOOK_INTERVAL = 0.25  # seconds between two looks at the server where the kernel has no pidfd
PR_SET_PDEATHSIG = 1  # prctl(2)


def _die_with_keeper() -> None:
    """Let the kernel kill the server when the keeper itself is killed (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _tell(*words: object) -> None:
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        pass  # The parent has gone; standard input says so as well.


def _wait_for_end(server: "subprocess.Popen[bytes]") -> None:
    """Return when standard input closes, whether or not the server still runs."""
    told = False
    while True:
        readable, _, _ = select.select([0], [], [], None if told else LOOK_INTERVAL)
        if readable and not os.read(0, 4096):
            return
        if not told and server.poll() is not None:
            _tell("ended", server.returncode)
            told = True


def main() -> None:
    """Run the command in DIRECTORY until standard input closes; then end it and remove DIRECTORY."""
    directory, *command = sys.argv[1:]
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, _leave)
    server = None
    try:
        server = subprocess.Popen(  # noqa: S603 - the command is our own parent's
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=directory,
            # Safe here: this process has one thread.
            preexec_fn=_die_with_keeper if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        _tell("pid", server.pid)
        _wait_for_end(server)
    finally:
        if server is not None and server.poll() is None:
            server.terminate()
            try:
                server.wait(GRACE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
