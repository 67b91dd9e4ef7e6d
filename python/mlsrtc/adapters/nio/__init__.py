"""The matrix-nio adapter (extra `nio`): a transport for calls, and the client's device as a signer."""

from mlsrtc.adapters.nio.device import Device, device_for
from mlsrtc.adapters.nio.transport import NioTransport

__all__ = ["Device", "NioTransport", "device_for"]
