"""What a test's Synapse is told: homeserver.yaml and the log's configuration, as values. Starts nothing.

The names are those of matrix-synapse 1.163: `max_event_delay_duration` turns MSC4140 on,
`experimental_features.msc4354_enabled` sticky events.
"""

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Test passwords need no slow hash: 4 is bcrypt's own minimum, Synapse's default is 12.
_BCRYPT_ROUNDS = 4


def unlimited() -> dict[str, Any]:
    """Every rate limit of Synapse, raised until no test meets it."""
    wide = {"per_second": 1e6, "burst_count": 1000000}
    flat = (
        "rc_message",
        "rc_registration",
        "rc_registration_token_validity",
        "rc_admin_redaction",
        "rc_joins_per_room",
        "rc_key_requests",
        "rc_3pid_validation",
        "rc_third_party_invite",
        "rc_media_create",
        "rc_delayed_event_mgmt",
        "rc_room_creation",
        "rc_reports",
        "rc_user_directory",
    )
    nested = {
        "rc_login": ("address", "account", "failed_attempts"),
        "rc_joins": ("local", "remote"),
        "rc_invites": ("per_room", "per_user", "per_issuer"),
        "rc_presence": ("per_user",),
    }
    limits: dict[str, Any] = {name: dict(wide) for name in flat}
    limits |= {name: {part: dict(wide) for part in parts} for name, parts in nested.items()}
    return limits


def generous_setup() -> dict[str, Any]:
    """Limits raised for making users and rooms only; sending stays as a fresh Synapse has it."""
    return {name: limit for name, limit in unlimited().items() if name not in ("rc_message", "rc_delayed_event_mgmt")}


def homeserver_configuration(
    directory: Path, port: int, *, server_name: str, registration_secret: str, limits: Mapping[str, Any]
) -> dict[str, Any]:
    """homeserver.yaml: everything in `directory`, one listener on loopback, SQLite, open registration."""
    seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return {
        "server_name": server_name,
        "signing_key": f"ed25519 a_test {seed}",
        "pid_file": str(directory / "homeserver.pid"),
        "log_config": str(directory / "log.yaml"),
        "media_store_path": str(directory / "media"),
        "report_stats": False,
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "macaroon_secret_key": secrets.token_hex(16),
        "form_secret": secrets.token_hex(16),
        "registration_shared_secret": registration_secret,
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "bcrypt_rounds": _BCRYPT_ROUNDS,
        "listeners": [
            {
                "port": port,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "tls": False,
                # A LiveKit token service checks its callers by `openid`.
                "resources": [{"names": ["client", "openid"]}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "max_event_delay_duration": "24h",
        "experimental_features": {"msc4354_enabled": True, "msc4143_enabled": True},
        "presence": {"enabled": False},
        "user_directory": {"enabled": False},
        "url_preview_enabled": False,
        **limits,
    }


def log_configuration(log: Path) -> dict[str, Any]:
    """Python's logging configuration: everything from INFO on into one file."""
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "formatter": "plain", "filename": str(log)}},
        "root": {"level": "INFO", "handlers": ["file"]},
        "disable_existing_loggers": False,
    }
