"""The SFU of `mlsrtc.testing`: encrypted sound goes through it, it is on loopback alone, and goes without a trace."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import sfu
from rooms import alive, gone, heed_interrupts
from sound import playing

from mlsrtc.testing.livekit import LiveKitError, LiveKitServer
from mlsrtc.testing.sound import listen, loudest

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

INDEX = 7
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}

_HOLD = """
import asyncio, sys
from mlsrtc.testing.livekit import LiveKitServer

async def main():
    async with LiveKitServer(sys.argv[1]) as server:
        print(server.pid, server._kept.directory, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def _heard(server: LiveKitServer, room: str, ada: dict[str, bytes], ben: dict[str, bytes]) -> list[float]:
    """What share of what each hears is the other's tone, with the keys that each holds. Ada sends 440 Hz, Ben 1,000."""
    await server.create_room(room)

    async def one(name: str, keys: dict[str, bytes], sent: float, awaited: float) -> float:
        async with sfu.participant(server.url, server.token(room, name), keys, INDEX) as place:
            heard: asyncio.Future[sfu.rtc.Track] = asyncio.get_running_loop().create_future()
            place.on("track_subscribed", lambda track, publication, who: heard.set_result(track))
            async with playing(place.local_participant, sent) as publication:
                assert publication.encryption_type == sfu.rtc.EncryptionType.GCM
                for cryptor in place.e2ee_manager.frame_cryptors():
                    cryptor.set_key_index(INDEX)
                frequency, share = loudest(await listen(await asyncio.wait_for(heard, 15), 1.0))
                await both.wait()  # the other one still listens
        return share if abs(frequency - awaited) < 3 else 0.0

    both = asyncio.Barrier(2)
    return list(await asyncio.gather(one("ada", ada, 440, 1000), one("ben", ben, 1000, 440)))


async def test_two_participants_hear_each_others_encrypted_tone(livekit: LiveKitServer) -> None:
    keys = {"ada": os.urandom(32), "ben": os.urandom(32)}
    assert min(await _heard(livekit, "both", keys, keys)) > 0.9


async def test_who_has_another_key_hears_no_tone(livekit: LiveKitServer) -> None:
    keys = {"ada": os.urandom(32), "ben": os.urandom(32)}
    ada, ben = await _heard(livekit, "one", keys, {**keys, "ada": os.urandom(32)})
    assert ada > 0.9
    assert ben == 0


async def test_it_listens_on_loopback_alone(livekit: LiveKitServer) -> None:
    addresses = _listening(livekit.pid)
    assert len(addresses) >= 2
    assert addresses <= {(kind, place) for kind in ("tcp", "tcp6", "udp", "udp6") for place in LOOPBACK}


def _listening(pid: int) -> set[tuple[str, str]]:
    """The local addresses of a process's listening TCP and unconnected UDP sockets, as the kernel writes them."""
    links = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.add(os.readlink(link))
    found = set()
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in links and words[3] in {"0A", "07"}:
                found.add((kind, words[1].partition(":")[0]))
    return found


async def test_nobody_gets_in_without_a_token_of_its_own(livekit: LiveKitServer) -> None:
    await livekit.create_room("locked")
    for token in ("", LiveKitServer().token("locked", "eve")):
        with pytest.raises(sfu.rtc.ConnectError):
            await sfu.rtc.Room().connect(livekit.url, token)


async def test_a_room_is_not_made_by_joining_it(livekit: LiveKitServer) -> None:
    with pytest.raises(sfu.rtc.ConnectError):
        await sfu.rtc.Room().connect(livekit.url, livekit.token("nowhere", "ada"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
async def test_no_process_and_no_directory_outlive_the_parent(number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _HOLD,
        str(sfu.server()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )
    assert parent.stdout is not None
    pid, directory = (await parent.stdout.readline()).decode().split()
    assert alive(int(pid))
    parent.send_signal(number)
    await asyncio.wait_for(parent.wait(), 30)
    assert await gone(int(pid), Path(directory))


async def test_an_exception_inside_leaves_nothing() -> None:
    server = LiveKitServer(sfu.server())
    found: list[tuple[int, Path]] = []

    async def fail_inside() -> None:
        async with server:
            assert server._kept is not None
            found.append((server.pid, server._kept.directory))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail_inside()
    [(pid, directory)] = found
    assert await gone(pid, directory)


async def test_a_server_that_does_not_come_up_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such option >&2\n")
    broken.chmod(0o755)
    server = LiveKitServer(broken, logs=tmp_path)
    with pytest.raises(LiveKitError, match=r"ended while it started\n--- livekit\.log ---\nno such option"):
        await server.__aenter__()
    assert server._kept is None


async def test_a_missing_server_is_told() -> None:
    with pytest.raises(LiveKitError, match="there is no /nowhere/livekit-server"):
        await LiveKitServer("/nowhere/livekit-server").__aenter__()


async def test_the_secret_stands_in_no_repr(livekit: LiveKitServer) -> None:
    assert livekit._secret not in repr(livekit)
