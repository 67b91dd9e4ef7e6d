"""nio clients for test users on a real homeserver, with device keys uploaded and cross-signed.

Knows nio and the test homeserver; nothing of calls. The clients keep their Olm state in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import nio
from nio.store import SqliteMemoryStore

from mlsrtc.adapters.nio.http import Failed
from mlsrtc.adapters.nio.megolm import upload_device_keys
from mlsrtc.testing.cross_signing import CrossSigning, bootstrap
from mlsrtc.testing.synapse import Account, Synapse, SynapseError


@dataclass(frozen=True, slots=True)
class TestDevice:
    """A test user's device: its account, its nio client, and its user's cross-signing keys."""

    __test__ = False  # not a test, whatever pytest makes of the name

    account: Account
    client: nio.AsyncClient
    signing: CrossSigning


def nio_client(server: Synapse, account: Account) -> nio.AsyncClient:
    """A client that is logged in as the account's device. The caller closes it."""
    config = nio.AsyncClientConfig(encryption_enabled=True, store=SqliteMemoryStore, store_sync_tokens=False)
    client = nio.AsyncClient(server.base_url, account.user_id, config=config)
    client.restore_login(account.user_id, account.device_id, account.access_token)
    _save_less(client.store)
    return client


def _save_less(store: SqliteMemoryStore) -> None:
    """nio tells its store the newly encrypted rooms at every sync, mostly none, and it binds ten tables for that:
    milliseconds that fifty clients of one process would all wait for."""
    save = store.save_encrypted_rooms

    def save_encrypted_rooms(rooms: Collection[str]) -> None:
        if rooms:
            save(rooms)

    store.save_encrypted_rooms = save_encrypted_rooms


@asynccontextmanager
async def cross_signed_devices(
    server: Synapse, names: Sequence[str], *, at_once: int = 8
) -> AsyncIterator[list[TestDevice]]:
    """One new user with one cross-signed device for each name; the clients are closed on leaving."""
    gate = asyncio.Semaphore(at_once)
    async with AsyncExitStack() as stack:

        async def one(name: str) -> TestDevice:
            async with gate:
                account = await server.register(name)
                client = nio_client(server, account)
                stack.push_async_callback(client.close)
                await _upload(client)
                return TestDevice(account, client, await bootstrap(server, account))

        yield list(await asyncio.gather(*(one(name) for name in names)))


async def _upload(client: nio.AsyncClient) -> None:
    try:
        await upload_device_keys(client)
    except Failed as failed:
        raise SynapseError(f"the device keys of {client.user_id} were refused: {failed.outcome}") from failed
