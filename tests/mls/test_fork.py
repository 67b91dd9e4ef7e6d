"""What a process can do that was forked from one in which groups have committed.

The engine shares work out to threads, which a fork leaves behind. Each test runs in a process of its own, which is
ended when it takes too long: waiting for such a thread would never end.
"""

import os
import subprocess
import sys

import pytest

SECONDS = 60
BEGIN = """
import multiprocessing, os, sys
from concurrent.futures import ThreadPoolExecutor
from clients import circle, client
from mlsrtc.mls import Observer, Secret

def everything(_=0):
    at = circle("ann", "ben", "cal", "dan")
    at.commit("ben", path=True)
    at.commit("ann", remove=[3])
    outside = client("eve").join_external(at["ann"].group_info(with_tree=True))
    assert at["cal"].stage(outside.message).apply().epoch == outside.group.epoch == 4
    seen = Observer.observe(at["ann"].group_info(with_tree=True)).follow(outside.message)
    assert seen.tree_hash == outside.group.tree_hash
    at.reload()
    founded = at["ann"].branch(b"aside", [at.clients["ben"].key_package().public])
    return founded.group.epoch

def inherited(at):
    made = at["ben"].commit(path=True)
    assert at["ann"].stage(made.message).apply().epoch_authenticator() == made.group.epoch_authenticator()

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
FORK = """
everything()
at = circle("ann", "ben", "cal")
def grown():
    everything()
    inherited(at)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(everything, range(8))) == {1}
    child(everything)
child(grown)
inherited(at)
"""
POOL = """
if __name__ == "__main__":
    everything()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert set(pool.map(everything, range(4))) == {1}
"""
FRESH = "child(lambda: child(everything))\neverything()\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("steps", [FORK, POOL, FRESH], ids=["fork", "pool", "fresh"])
def test_a_forked_process_can_do_everything(steps: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + steps]
    done = subprocess.run(run, env=environment, timeout=SECONDS, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
