"""A wrong address is found before Ray is asked for it."""

import socket

import pytest

from peftnas.search import UsageError
from peftnas.search.cluster.address import check_address


def test_local_and_auto_are_left_to_ray() -> None:
    check_address("local")
    check_address("auto")


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port", "host:70000"])
def test_an_address_has_a_form(address: str) -> None:
    with pytest.raises(UsageError, match="must be local, auto, HOST:PORT"):
        check_address(address)


def test_somebody_has_to_listen() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(UsageError, match="no Ray cluster answers"):
            check_address(address)
        listening.listen()
        check_address(address)
        check_address(f"ray://{address}")
