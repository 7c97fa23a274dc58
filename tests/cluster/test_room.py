"""The room lets nothing through but by its doors."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from milepost.parts.errors import PartError
from milepost.parts.flink_room import NO_RIGHTS, Door, Room
from milepost.parts.ports import LOOPBACK, free_port

#: Answers each connection with what it was told, in capitals.
ECHO = """
import socket, sys
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as server:
    print("listening", flush=True)
    while True:
        client = server.accept()[0]
        client.sendall(client.recv(100).upper())
        client.close()
"""
CALL = """
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
client.sendall(b"hello")
print(client.recv(100).decode())
"""


class Echo:
    """A server outside of the room."""

    def __init__(self) -> None:
        self.server = socket.create_server((LOOPBACK, 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client = self.server.accept()[0]
            except OSError:
                return
            client.sendall(client.recv(100).upper())
            client.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.server.close()


@pytest.fixture
def room(tmp_path: Path, echo: Echo) -> Iterator[Room]:
    room = Room(tmp_path)
    try:
        room.start(
            [Door(f"unix:{tmp_path}/in.socket", "127.0.0.1:1001")],
            [Door("127.0.0.1:1002", f"127.0.0.1:{echo.port}")],
        )
    except PartError as error:
        if str(error) == NO_RIGHTS:
            pytest.skip(NO_RIGHTS)
        raise
    yield room
    room.stop()


def _in_room(room: Room, program: str, port: int) -> list[str]:
    return [str(part) for part in room.enter([sys.executable, "-c", program, str(port)])]


def test_doors_lead_in_and_out_and_nothing_else_does(room: Room, echo: Echo, tmp_path: Path) -> None:
    with subprocess.Popen(_in_room(room, ECHO, 1001), stdout=subprocess.PIPE, text=True) as inside:
        try:
            assert inside.stdout is not None
            assert inside.stdout.readline() == "listening\n"
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(tmp_path / "in.socket"))
                client.sendall(b"hello")
                assert client.recv(100) == b"HELLO"
            # It listens on every interface, and yet nobody outside finds it.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((LOOPBACK, 1001), timeout=5)
        finally:
            inside.kill()
    called = subprocess.run(
        _in_room(room, CALL, 1002), capture_output=True, text=True, check=False, timeout=20
    )
    assert called.stdout == "HELLO\n"
    walled = subprocess.run(
        _in_room(room, CALL, echo.port), capture_output=True, text=True, check=False, timeout=20
    )
    assert "ConnectionRefusedError" in walled.stderr


def test_a_door_is_its_owners_alone(room: Room, tmp_path: Path) -> None:
    assert (tmp_path / "in.socket").stat().st_mode & 0o777 == 0o600


def test_behind_a_door_without_anybody_the_caller_is_hung_up_on(room: Room, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(tmp_path / "in.socket"))
        assert client.recv(1) == b""


def test_a_large_message_comes_through_whole(room: Room, tmp_path: Path) -> None:
    program = ECHO.replace("client.recv(100).upper()", "b'x' * 20_000_000")
    with subprocess.Popen(_in_room(room, program, 1001), stdout=subprocess.PIPE, text=True) as inside:
        try:
            assert inside.stdout is not None
            inside.stdout.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(tmp_path / "in.socket"))
                received = 0
                while chunk := client.recv(1 << 20):
                    received += len(chunk)
        finally:
            inside.kill()
    assert received == 20_000_000


def test_a_room_stands_once(room: Room) -> None:
    with pytest.raises(PartError, match="runs already"):
        room.start()


def test_who_is_gone_cannot_be_entered(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="start Flink first"):
        Room(tmp_path).enter(["true"])


def test_a_taken_port_is_named(tmp_path: Path, echo: Echo) -> None:
    room = Room(tmp_path)
    with pytest.raises(PartError, match=f"127.0.0.1:{echo.port}: Address already in use; name another port"):
        room.start([Door(f"127.0.0.1:{echo.port}", "127.0.0.1:1")])


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="too long"):
        Room(tmp_path).start([Door(f"unix:{tmp_path}/{'x' * 120}", f"127.0.0.1:{free_port()}")])
