"""A Matrix device for the command line: logged in once, kept in a directory, and the same device the next time."""

import argparse
import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsrtc.errors import LocalProtocolError

if TYPE_CHECKING:
    import nio

FILE = "device.json"
PASSWORD, TOKEN = "MLSRTC_PASSWORD", "MLSRTC_ACCESS_TOKEN"
DISPLAY_NAME = "mlsrtc call"


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


async def log_in(options: argparse.Namespace) -> "nio.AsyncClient":
    """A client of the store's device; where there is none yet, of the access token in the environment, else of a new
    device by password, which is asked for if it is not in the environment.

    Raises LocalProtocolError if something is missing, or if the homeserver refuses.
    """
    import nio

    store: Path = options.store
    file = store / FILE
    kept = _load(file)
    homeserver = options.homeserver or kept.get("homeserver")
    user = options.user or kept.get("user_id")
    if homeserver is None or user is None:
        raise LocalProtocolError(f"{store} holds no device yet: give --homeserver and --user")
    if kept and (user, homeserver) != (kept["user_id"], kept["homeserver"]):
        raise LocalProtocolError(f"{store} holds a device of {kept['user_id']} on {kept['homeserver']}: take another")
    client = nio.AsyncClient(
        homeserver, user, store_path=str(store), config=nio.AsyncClientConfig(encryption_enabled=True)
    )
    try:
        if kept:
            client.restore_login(user, kept["device_id"], kept["access_token"])
            return client
        if (token := os.environ.get(TOKEN)) is not None:
            if options.device is None:
                raise LocalProtocolError(f"give --device, the one that {TOKEN} belongs to")
            client.restore_login(user, options.device, token)
            await _check_token(client, user, options.device)
        else:
            password = os.environ.get(PASSWORD) or getpass.getpass(f"password of {user}: ")
            answer = await client.login(password, device_name=DISPLAY_NAME)
            if not isinstance(answer, nio.LoginResponse):
                raise LocalProtocolError(f"{homeserver} does not log us in: {answer}")
        _save(file, homeserver, client)
    except BaseException:
        await client.close()
        raise
    return client


async def _check_token(client: "nio.AsyncClient", user: str, device: str) -> None:
    import nio

    answer = await client.whoami()
    if not isinstance(answer, nio.WhoamiResponse):
        raise LocalProtocolError(f"{client.homeserver} does not take the access token: {answer}")
    if (answer.user_id, answer.device_id) != (user, device):
        raise LocalProtocolError(f"the access token belongs to {answer.user_id} and its device {answer.device_id}")


def _load(file: Path) -> dict[str, Any]:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        kept = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
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
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as out:
        json.dump(kept, out)
