"""A room of its own in the network, for parts that listen on every interface: Beam's job server and workers do.

In the room (a network namespace of Linux) there is a loopback and nothing else, so no other machine and no other user
of this one reaches a port in it. Doors lead through its wall: inward ones let the owner reach what is in the room,
by a socket file that only the owner may open; outward ones let the room reach a broker or a database.

The room is a process, `python -m milepost.parts.flink_room`, and stands for as long as that runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from milepost.parts.errors import PartError
from milepost.parts.flink_loopback import raise_loopback
from milepost.parts.process import Background

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
#: What a door carries at a time, in bytes.
_CHUNK = 256 * 1024
#: The kernel's limit of a socket file's path, in bytes.
_LONGEST_SOCKET_PATH = 107
_NO_RIGHTS = 77

NO_RIGHTS = (
    "no network namespace may be made here: run as root, let users make them (sysctl user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0), or give a container the "
    "capability SYS_ADMIN. A Flink that runs elsewhere needs none: name it by --job_endpoint"
)


@dataclass(frozen=True)
class Door:
    """A way through the wall: who connects to `listen` on one side is connected to `to` on the other.

    Addresses are `HOST:PORT` or, for a socket file, `unix:PATH`.
    """

    listen: str
    to: str


@dataclass(frozen=True)
class Room:
    """The room whose process number and log are kept in a folder."""

    folder: Path

    @property
    def process(self) -> Background:
        """The process that is the room."""
        return Background("the network room", self.folder / "room.pid", self.folder / "room.log")

    def start(self, inward: Sequence[Door] = (), outward: Sequence[Door] = ()) -> None:
        """Make the room and its doors, and wait until it stands.

        Raises:
            PartError: it stands already, a door's address is taken, or rights are missing.
        """
        for door in inward:
            path = door.listen.removeprefix("unix:")
            if path != door.listen and len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
                raise PartError(f"{path}: too long for a socket file; name a folder with a shorter path")
        command: list[str | Path] = [sys.executable, "-m", "milepost.parts.flink_room"]
        for name, doors in (("--inward", inward), ("--outward", outward)):
            for door in doors:
                command += [name, door.listen, door.to]
        self.process.log_file.unlink(missing_ok=True)
        self.process.start(command, os.environ)
        try:
            self.process.wait_ready(self._stands, timeout=60)
        except PartError as error:
            # A process that has ended has no code to ask for: what it says decides.
            if NO_RIGHTS in self.process.log_tail():
                raise PartError(NO_RIGHTS) from error
            raise

    def enter(self, command: Sequence[str | Path]) -> list[str | Path]:
        """Give the command that runs a command in the room; raises PartError where the room does not stand."""
        pid = self.process.pid
        if pid is None:
            raise PartError("the network room does not stand; start Flink first")
        own_user = Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
        user = ["--user", "--preserve-credentials"] if own_user else []
        return ["nsenter", "--target", str(pid), *user, "--net", "--", *command]

    def stop(self) -> None:
        """Take the room down; what still runs in it is cut off from everything."""
        self.process.stop(timeout=5)

    def _stands(self) -> bool:
        try:
            return "Open." in self.process.log_file.read_text(encoding="utf-8")
        except OSError:
            return False


def _wall_off() -> None:
    """Move this process into a network of its own, as root or, without its rights, in a user namespace of its own."""
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.unshare(_NEW_NETWORK) != 0:
        user, group = os.getuid(), os.getgid()
        if kernel.unshare(_NEW_USER | _NEW_NETWORK) != 0:
            print(NO_RIGHTS, flush=True)  # noqa: T201 - the log of the process that this is
            sys.exit(_NO_RIGHTS)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    raise_loopback()


def _listen(address: str) -> socket.socket:
    path = address.removeprefix("unix:")
    if path != address:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        listener = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
    else:
        host, _, port = address.rpartition(":")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
        except OSError as error:
            sys.exit(f"{address}: {error.strerror}; name another port, or stop what listens there")
    listener.listen(128)
    return listener


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    sink.write_eof()


async def _serve(doors: Sequence[tuple[socket.socket, str]], *, until: socket.socket | None = None) -> None:
    """Carry what comes through doors; for ever, or until the other end of a socket is gone."""

    async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = address.removeprefix("unix:")
        if path != address:
            return await asyncio.open_unix_connection(path, limit=_CHUNK)
        host, _, port = address.rpartition(":")
        return await asyncio.open_connection(host, int(port), limit=_CHUNK)

    async def visit(address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            # Who finds nobody behind the door is hung up on, as by a port that nobody listens on.
            there, back = await connect(address)
            try:
                await asyncio.gather(_carry(reader, back), _carry(there, writer))
            finally:
                back.close()
        writer.close()

    def opened(address: str):  # type: ignore[no-untyped-def]
        return lambda reader, writer: visit(address, reader, writer)

    servers = [await asyncio.start_server(opened(to), sock=listener, limit=_CHUNK) for listener, to in doors]
    if until is None:
        await asyncio.Event().wait()
    else:
        until.setblocking(False)
        await asyncio.get_running_loop().sock_recv(until, 1)
    for server in servers:
        server.close()


def main(arguments: Sequence[str]) -> None:
    """Be the room: this process moves in and serves the inward doors, one left outside serves the outward ones."""
    parser = argparse.ArgumentParser()
    for side in ("--inward", "--outward"):
        parser.add_argument(side, nargs=2, action="append", default=[])
    options = parser.parse_args(arguments)
    inward = [(_listen(address), to) for address, to in options.inward]
    inside, outside = socket.socketpair()
    if os.fork() == 0:
        inside.close()
        for listener, _ in inward:
            listener.close()
        _, handles, _, _ = socket.recv_fds(outside, 1, len(options.outward))
        outward = [socket.socket(fileno=handle) for handle in handles]
        asyncio.run(_serve(list(zip(outward, [to for _, to in options.outward], strict=True)), until=outside))
        return
    outside.close()
    _wall_off()
    listeners = [_listen(address) for address, _ in options.outward]
    socket.send_fds(inside, [b"."], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("Open.", flush=True)  # noqa: T201 - the log of the process that this is
    asyncio.run(_serve(inward))


if __name__ == "__main__":
    main(sys.argv[1:])
