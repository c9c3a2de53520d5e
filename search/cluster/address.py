"""Where a Ray cluster is looked for: checked before Ray, which would try for minutes."""

from __future__ import annotations

import socket

from peftnas.search.errors import UsageError

_TIMEOUT_S = 5.0


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers.

    Args:
        address: "local", "auto", ``HOST:PORT``, or a URL such as ``ray://HOST:PORT``.
    Raises:
        UsageError: with the reason.
    """
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"address must be local, auto, HOST:PORT or ray://HOST:PORT, got {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    except OSError as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({error}); correct the address, or leave it out "
            "to start Ray here"
        ) from error
