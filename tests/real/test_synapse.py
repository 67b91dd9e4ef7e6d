"""The Synapse of `mlsrtc.testing`: it comes up as asked for, and goes without a trace in every case."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from rooms import alive, gone, heed_interrupts

from mlsrtc.testing.cross_signing import bootstrap
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse, SynapseError

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

_HOLD = """
import asyncio, sys
from mlsrtc.testing.synapse import Synapse

async def main():
    async with Synapse() as server:
        print(server.pid, server._kept.directory, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
async def test_no_process_and_no_directory_outlive_the_parent(number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _HOLD,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )
    assert parent.stdout is not None
    pid, directory = (await parent.stdout.readline()).decode().split()
    assert alive(int(pid))
    assert Path(directory).exists()  # noqa: ASYNC240
    parent.send_signal(number)
    await asyncio.wait_for(parent.wait(), 30)
    assert await gone(int(pid), Path(directory))


async def test_an_exception_inside_leaves_nothing() -> None:
    server = Synapse()

    async def fail_inside() -> None:
        async with server:
            assert server._kept is not None
            found.append((server.pid, server._kept.directory))
            raise RuntimeError("on purpose")

    found: list[tuple[int, Path]] = []
    with pytest.raises(RuntimeError, match="on purpose"):
        await fail_inside()
    [(pid, directory)] = found
    assert await gone(pid, directory)


async def test_a_server_that_does_not_come_up_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = Synapse(extra={"max_event_delay_duration": "-1h"}, logs=tmp_path)
    with pytest.raises(SynapseError, match="max_event_delay_duration"):
        await server.__aenter__()
    assert (tmp_path / "homeserver.stderr").read_text() != ""
    assert server._kept is None


async def test_msc4140_and_msc4354_are_on(synapse: Synapse, three: list[TestDevice]) -> None:
    token = three[0].account.access_token
    answer = await synapse.demand("GET", "/_matrix/client/v3/capabilities", token=token)
    delayed = answer["capabilities"]["org.matrix.msc4140.delayed_events"]
    assert delayed["max_delay_ms"] == 24 * 3600 * 1000
    versions = await synapse.demand("GET", "/_matrix/client/versions", token=token)
    assert versions["unstable_features"]["org.matrix.msc4354"] is True


async def test_an_openid_token_can_be_checked_at_the_listener(synapse: Synapse, three: list[TestDevice]) -> None:
    account = three[0].account
    path = f"/_matrix/client/v3/user/{account.user_id}/openid/request_token"
    token = (await synapse.demand("POST", path, token=account.access_token, body={}))["access_token"]
    checked = await synapse.demand("GET", f"/_matrix/federation/v1/openid/userinfo?access_token={token}")
    assert checked == {"sub": account.user_id}


async def test_secrets_are_not_in_the_repr_of_an_account(three: list[TestDevice]) -> None:
    account = three[0].account
    assert account.access_token not in repr(account)
    assert account.password not in repr(account)


async def test_cross_signing_can_be_replaced_with_the_password(synapse: Synapse, three: list[TestDevice]) -> None:
    account = three[0].account
    replaced = await bootstrap(synapse, account)
    assert replaced.master_key != three[0].signing.master_key
    body = {"device_keys": {account.user_id: []}}
    answer = await synapse.demand("POST", "/_matrix/client/v3/keys/query", token=account.access_token, body=body)
    assert list(answer["master_keys"][account.user_id]["keys"].values()) == [replaced.master_key]
