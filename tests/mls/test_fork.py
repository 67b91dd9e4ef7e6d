"""What a process can do that was forked from one in which groups have committed.

The engine shares work out to threads, which a fork leaves behind, and one of ours may hold the lock on the message keys
that are used. Each test runs in a process of its own, which is ended when it takes too long: waiting for a thread that
is not there would never end. (A fork that surely comes as the lock is held is in `spent.rs`.)
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
from mlsrtc.errors import LocalProtocolError
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
BUSY = """
at, over = circle("ann", "ben"), False
def busy():
    saved = at["ann"].save()
    while not over:
        at.clients["ann"].load_group(saved)
with ThreadPoolExecutor(2) as threads:
    running = [threads.submit(busy) for _ in range(2)]
    try:
        for _ in range(10):
            child(lambda: client("cal").create_group(b"of the child"))
    finally:
        over = True
    assert [one.result() for one in running] == [None, None]
"""
HANDED_OVER = """
at = circle("ann", "ben")
saved = at["ann"].save()
def refused(group):
    try:
        group.encrypt(b"from the child")
    except LocalProtocolError as error:
        return error.reason == "forked"
def heir():
    assert refused(at["ann"]) and refused(at.clients["ann"].load_group(saved))
    del at.groups["ann"]
    assert at.clients["ann"].load_group(saved).encrypt(b"from the child").group.epoch == 1
    other = client("cal").create_group(b"of the child")
    child(lambda: None if refused(other) else os._exit(2))
child(heir)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "steps", [FORK, POOL, FRESH, BUSY, HANDED_OVER], ids=["fork", "pool", "fresh", "busy", "handed over"]
)
def test_a_forked_process_can_do_everything(steps: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + steps]
    done = subprocess.run(run, env=environment, timeout=SECONDS, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
