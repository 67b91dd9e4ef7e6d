"""How a transport tells that nio's sync loop has ended."""

import nio
import pytest

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.transport import TransportClosed


@pytest.mark.parametrize(("logged_in", "reason"), [(False, "logged_out"), (True, "sync_stopped")])
async def test_a_loop_that_ends_with_an_error_was_logged_out_if_the_client_was(
    monkeypatch: pytest.MonkeyPatch, logged_in: bool, reason: str
) -> None:
    client = nio.AsyncClient("http://127.0.0.1:1", "@anna:one.test")
    if logged_in:
        client.restore_login("@anna:one.test", "D", "token")

    async def ends(**_: object) -> None:
        raise nio.LocalProtocolError("not logged in")

    monkeypatch.setattr(client, "sync_forever", ends)
    transport = NioTransport(client)
    await transport._run()
    with pytest.raises(TransportClosed, match=f"^{reason}: LocalProtocolError$"):
        async with transport.subscribe("!r:one.test", "m.call#ROOM"):
            pass
    await client.close()
