"""A private PostgreSQL server in a temporary folder, on a free port of this machine.

As a program it runs a command while the server is up, which finds it in two variables of its
environment: ``python -m tests.services.postgres pytest tests/search/storage``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

URL = "PEFTNAS_TEST_POSTGRES"
"""Variable: URL of a database whose server may make and drop others."""

SERVER = "PEFTNAS_TEST_POSTGRES_SERVER"
"""Variable: ``FOLDER:PORT`` of a private server, which tests may then stop and start."""

_ACCOUNT = "postgres"  # a server refuses to run as root
_INSTALLED = Path("/usr/lib/postgresql")


class NoServerError(RuntimeError):
    """PostgreSQL cannot be had here."""


@dataclass(frozen=True)
class Server:
    """A server of ours.

    Attributes:
        folder: of its data.
        port: on 127.0.0.1.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{_ACCOUNT}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = self.folder / "server.log"
        _server_program("pg_ctl", "-D", self.folder, "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop it at once; its clients are cut off."""
        _server_program("pg_ctl", "-D", self.folder, "-m", "immediate", "-w", "stop")

    @classmethod
    def named_in_environment(cls) -> Server | None:
        folder, _, port = os.environ.get(SERVER, "").rpartition(":")
        return cls(Path(folder), int(port)) if folder else None


@contextmanager
def private_server() -> Iterator[Server]:
    """A server that is gone with its data at the end.

    Raises:
        NoServerError: if PostgreSQL is not installed and cannot be.
    """
    _installed()
    with tempfile.TemporaryDirectory(prefix="peftnas-postgres-") as place:
        if os.geteuid() == 0:
            shutil.chown(place, _ACCOUNT, _ACCOUNT)
        folder = Path(place) / "data"
        names = ["-A", "trust", "-U", _ACCOUNT, "-E", "UTF8", "--no-sync"]
        _server_program("initdb", "-D", folder, *names)
        server = Server(folder, _free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _server_program(name: str, *arguments: str | Path) -> None:
    """Run a program of the server's, not as root."""
    account = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam(_ACCOUNT)
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    # a server that is started keeps what it inherits open: its output must be no pipe
    with tempfile.TemporaryFile() as printed:
        command = [_installed() / name, *arguments]
        done = subprocess.run(command, cwd="/", stdout=printed, stderr=printed, **account)  # type: ignore[call-overload]
        if done.returncode:
            printed.seek(0)
            raise NoServerError(f"{name} failed: {printed.read().decode().strip()}")


def _installed() -> Path:
    """The folder of the server's programs; installed first where it is missing."""
    found = _programs()
    if found is None:
        _install()
        found = _programs()
    if found is None:
        raise NoServerError("PostgreSQL was installed, but its initdb is not found")
    return found


def _programs() -> Path | None:
    versions = sorted(_INSTALLED.glob("*/bin"), key=lambda path: path.parts[-2], reverse=True)
    on_path = [Path(place) for place in os.get_exec_path()]
    for folder in (*versions, *on_path):
        if all((folder / name).is_file() for name in ("initdb", "pg_ctl")):
            return folder
    return None


def _install() -> None:
    by_hand = "install PostgreSQL (its initdb and pg_ctl) by hand, and call this again"
    if shutil.which("apt-get") is None:
        raise NoServerError(f"PostgreSQL is not installed and there is no apt-get here; {by_hand}")
    if os.geteuid() != 0:
        raise NoServerError(
            "PostgreSQL is not installed, and apt-get needs root; run apt-get install postgresql"
        )
    print("installing PostgreSQL from Debian's package ...", file=sys.stderr)
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        done = subprocess.run(["apt-get", "--quiet", *command], env=quiet, capture_output=True)
        if done.returncode:
            lines = (done.stderr or done.stdout).decode().strip().splitlines() or ["no message"]
            raise NoServerError(f"apt-get {command[0]} failed: {lines[-1]}; {by_hand}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(command: Sequence[str]) -> int:
    """Run a command beside a private server; its exit code, or 1 where there is no server."""
    try:
        with private_server() as server:
            there = {URL: server.url, SERVER: f"{server.folder}:{server.port}"}
            return subprocess.run(command, env=os.environ | there).returncode
    except NoServerError as error:
        print(f"test-services: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
