"""What `mlsrtc call` is asked for and cannot do, found before anything is joined."""

import argparse
import tempfile
import wave
from pathlib import Path
from urllib.parse import urlsplit


def refusal(options: argparse.Namespace, *, media: bool) -> str | None:
    """Why these options cannot be done, in one line, or None. Makes the directory of --record. `media`: whether any is
    wanted; the extra `livekit` is there then."""
    if options.seconds is not None and not options.seconds > 0:
        return f"--seconds {options.seconds:g}: more than 0 are needed"
    if options.well_known is not None and not is_web_url(options.well_known):
        return f"--well-known {options.well_known}: not a URL of https:// or http://"
    return _refused_media(options) if media else None


def is_web_url(text: str) -> bool:
    """Whether it is an absolute URL that HTTP goes to."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(parts.hostname)
    except ValueError:
        return False


def _refused_media(options: argparse.Namespace) -> str | None:
    from mlsrtc.adapters.focus.token import LEGACY_SLOT
    from mlsrtc.adapters.livekit.audio import SAMPLE_RATE

    if options.slot != LEGACY_SLOT and options.membership == "state":
        return f"--slot {options.slot}: media of another call than {LEGACY_SLOT} need --membership sticky"
    if options.tone is not None and not 0 < options.tone < SAMPLE_RATE / 2:
        return f"--tone {options.tone:g}: more than 0 and less than {SAMPLE_RATE // 2} Hz are needed"
    if options.file is not None and (wrong := _unreadable(options.file)) is not None:
        return f"--file {options.file}: {wrong}"
    if options.microphone and (wrong := _no_microphone()) is not None:
        return f"--microphone: {wrong}"
    if options.record is not None and (wrong := _unwritable(options.record)) is not None:
        return f"--record {options.record}: {wrong}"
    return None


def _unreadable(path: Path) -> str | None:
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                return f"its samples have {8 * file.getsampwidth()} bits; 16 are needed"
            return None if file.getnframes() else "there is no sound in it"
    except OSError as error:
        return error.strerror or type(error).__name__
    except (wave.Error, EOFError):
        return "not a WAV file of plain samples (PCM)"


def _no_microphone() -> str | None:
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: PortAudio itself is not there
        return f"needs `sounddevice` (PyPI) and PortAudio: {error}"
    return None


def _unwritable(directory: Path) -> str | None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__
