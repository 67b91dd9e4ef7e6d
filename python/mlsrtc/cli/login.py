"""A Matrix device for the command line: logged in once, kept in a directory, and the same device the next time."""

import argparse
import asyncio
import errno
import getpass
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsrtc.cli.usage import is_web_url
from mlsrtc.errors import LocalProtocolError

if TYPE_CHECKING:
    import nio

FILE = "device.json"
PASSWORD, TOKEN, PASSPHRASE = "MLSRTC_PASSWORD", "MLSRTC_ACCESS_TOKEN", "MLSRTC_PASSPHRASE"
DISPLAY_NAME = "mlsrtc call"
PATIENCE = 15.0  # seconds for a homeserver to show that it is there


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say who we are."""
    parser.add_argument("--homeserver", metavar="URL", help="needed the first time; kept in the store")
    parser.add_argument("--user", metavar="@NAME:SERVER", help="needed the first time; kept in the store")
    parser.add_argument("--device", metavar="ID", help="with an access token: the device it belongs to")
    parser.add_argument(
        "--store",
        metavar="DIR",
        type=Path,
        default=Path("mlsrtc-store"),
        help="keeps the device, its keys and its calls, unencrypted (default: %(default)s)",
    )


def ask_password(options: argparse.Namespace) -> str | None:
    """The password, of the environment or asked for; None where none is needed: the store has a device, or the
    environment an access token. Raises what `log_in` raises for its options, and LocalProtocolError if there is no
    terminal to ask at."""
    _, user, kept = _who(options)
    if kept or TOKEN in os.environ:
        return None
    return ask("password", f"of {user}", PASSWORD)


def ask(what: str, of: str, variable: str) -> str:
    """What nobody else may see, of the environment or asked for. Raises LocalProtocolError if there is no terminal to
    ask at."""
    if (given := os.environ.get(variable)) is not None:
        return given
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would be shown while it is typed
            return getpass.getpass(f"{what} {of}: ")
    except (EOFError, getpass.GetPassWarning):
        raise LocalProtocolError(f"there is no terminal to ask for the {what} at: set {variable}") from None


async def log_in(options: argparse.Namespace, password: str | None) -> "nio.AsyncClient":
    """A client of the store's device; where there is none yet, of the access token in the environment, else of a new
    device by password (`ask_password`).

    Raises LocalProtocolError if something is missing or does not fit, if the store cannot be read or written, or if the
    homeserver is not there or refuses.
    """
    import nio

    homeserver, user, kept = _who(options)
    store: Path = options.store
    client = nio.AsyncClient(
        homeserver, user, store_path=str(store), config=nio.AsyncClientConfig(encryption_enabled=True)
    )
    try:
        await _reach(client)
        if kept:
            client.restore_login(user, kept["device_id"], kept["access_token"])
            return client
        if (token := os.environ.get(TOKEN)) is not None:
            if options.device is None:
                raise LocalProtocolError(f"give --device, the one that {TOKEN} belongs to")
            client.restore_login(user, options.device, token)
            await _check_token(client, user, options.device)
        else:
            answer = await client.login(password or "", device_name=DISPLAY_NAME)
            if not isinstance(answer, nio.LoginResponse):
                raise LocalProtocolError(f"{homeserver} does not log us in: {answer}")
        _save(store / FILE, homeserver, client)
    except BaseException:
        await client.close()
        raise
    return client


def _who(options: argparse.Namespace) -> tuple[str, str, dict[str, Any]]:
    """The homeserver, the user, and what the store keeps of a device, empty if that is nothing. Makes the store."""
    store: Path = options.store
    kept = _load(store / FILE)
    homeserver = options.homeserver or kept.get("homeserver")
    user = options.user or kept.get("user_id")
    if homeserver is None or user is None:
        raise LocalProtocolError(f"{store} holds no device yet: give --homeserver and --user")
    if not is_web_url(homeserver):
        raise LocalProtocolError(f"the homeserver {homeserver} is not a URL of https:// or http://")
    if kept and (user, homeserver) != (kept["user_id"], kept["homeserver"]):
        raise LocalProtocolError(f"{store} holds a device of {kept['user_id']} on {kept['homeserver']}: take another")
    return homeserver, user, kept


async def _reach(client: "nio.AsyncClient") -> None:
    """Asks the homeserver for something that needs no login: nio's own methods would try for ever."""
    from aiohttp import ClientError

    try:
        async with asyncio.timeout(PATIENCE):
            answer = await client.send("GET", "/_matrix/client/versions")
            async with answer:
                status = answer.status
    except (ClientError, TimeoutError, OSError) as error:
        raise LocalProtocolError(f"{client.homeserver} does not answer: {type(error).__name__}") from None
    if status != 200:
        raise LocalProtocolError(f"{client.homeserver} is no homeserver: status {status}")


async def _check_token(client: "nio.AsyncClient", user: str, device: str) -> None:
    import nio

    answer = await client.whoami()
    if not isinstance(answer, nio.WhoamiResponse):
        raise LocalProtocolError(f"{client.homeserver} does not take the access token: {answer}")
    if (answer.user_id, answer.device_id) != (user, device):
        raise LocalProtocolError(f"the access token belongs to {answer.user_id} and its device {answer.device_id}")


def _load(file: Path) -> dict[str, Any]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(file.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not file.exists():
            return {}
        kept = json.loads(file.read_bytes())
    except OSError as error:
        raise LocalProtocolError(f"the store {file.parent} cannot be used: {error.strerror}") from None
    except ValueError:
        kept = None
    names = ("homeserver", "user_id", "device_id", "access_token")
    if not isinstance(kept, dict) or any(not isinstance(kept.get(name), str) for name in names):
        raise LocalProtocolError(f"{file} is damaged: remove it and log in anew")
    return kept


def _save(file: Path, homeserver: str, client: "nio.AsyncClient") -> None:
    kept = {
        "homeserver": homeserver,
        "user_id": client.user_id,
        "device_id": client.device_id,
        "access_token": client.access_token,
    }
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as out:
            json.dump(kept, out)
    except OSError as error:
        raise LocalProtocolError(f"{file} cannot be written: {error.strerror}") from None
