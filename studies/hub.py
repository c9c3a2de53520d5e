"""Keep the client of the Hugging Face hub from waiting for a network that is not there."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit


@contextlib.contextmanager
def offline_when_unreachable() -> Iterator[str]:
    """Without a hub to reach, ask the cache alone: the hub's client retries for 20 s otherwise.

    Yields:
        Why the hub is not asked, for messages; "" when it is.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    why = ""
    if before:
        why = "HF_HUB_OFFLINE is set, and the cache has none"
    elif not _reachable(constants.ENDPOINT):
        why = "the hub cannot be reached, and the cache has none"
    constants.HF_HUB_OFFLINE = bool(why)
    try:
        yield why
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(endpoint: str) -> bool:
    """Whether the hub's host name resolves; behind a proxy that is the proxy's business."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, 443)
    except OSError:
        return False
    return True
