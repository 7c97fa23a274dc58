"""Jars: fetched once and whole, verified against the lock, and there without a network afterwards."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from milepost.parts import jars as module
from milepost.parts.errors import PartError
from milepost.parts.jars import Jar, fetch_jars, load_lock

KAFKA_LOCK = Path(module.__file__).with_name("kafka.lock")


class _Repository(SimpleHTTPRequestHandler):
    asked: list[str]
    broken: int = 0

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        if type(self).broken:
            type(self).broken -= 1
            self.send_error(503)
            return
        super().do_GET()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Repository]]:
    """A repository over HTTP with the files below `tmp_path/repository`."""
    folder = tmp_path / "repository"
    folder.mkdir()
    handler = type("Handler", (_Repository,), {"asked": [], "broken": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("MILEPOST_MAVEN", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("MILEPOST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    yield handler
    server.shutdown()
    server.server_close()


def _jar(tmp_path: Path, name: str, content: bytes, classifier: str = "") -> Jar:
    jar = Jar("org.example", name, "1.0", hashlib.sha256(content).hexdigest(), len(content), classifier)
    file = tmp_path / "repository" / jar.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return jar


def test_jars_are_fetched_once_and_then_without_a_network(
    tmp_path: Path, repository: type[_Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [_jar(tmp_path, f"a{n}", bytes([n]) * 1000) for n in range(20)]
    wanted.append(_jar(tmp_path, "a0", b"other", classifier="linux"))
    told: list[tuple[int, int]] = []
    files = fetch_jars(wanted, lambda done, total: told.append((done, total)))
    assert [file.read_bytes()[:1] for file in files] == [*(bytes([n]) for n in range(20)), b"o"]
    assert told[-1] == (20_005, 20_005)
    assert len(repository.asked) == 21
    monkeypatch.setenv("MILEPOST_MAVEN", "http://127.0.0.1:1")
    assert fetch_jars(wanted) == files


def test_a_damaged_file_of_the_cache_is_fetched_again(tmp_path: Path, repository: type[_Repository]) -> None:
    jar = _jar(tmp_path, "a", b"content")
    (file,) = fetch_jars([jar])
    for damaged in (b"contenT", b"cont", b""):
        file.write_bytes(damaged)
        assert fetch_jars([jar])[0].read_bytes() == b"content"
    assert {entry.name for entry in file.parent.iterdir()} == {file.name}


def test_a_repository_that_falters_is_asked_again(tmp_path: Path, repository: type[_Repository]) -> None:
    repository.broken = 2
    assert fetch_jars([_jar(tmp_path, "a", b"content")])[0].read_bytes() == b"content"


def test_another_content_than_the_lock_says_is_refused(tmp_path: Path, repository: type[_Repository]) -> None:
    jar = _jar(tmp_path, "a", b"content")
    (tmp_path / "repository" / jar.path).write_bytes(b"c0ntent")
    with pytest.raises(PartError, match=r"org\.example:a:1\.0: .*the lock says 7.*MILEPOST_MAVEN"):
        fetch_jars([jar])
    assert not list((tmp_path / "cache").rglob("*.jar"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "file:///etc", "nonsense"])
def test_what_cannot_be_fetched_is_named_with_a_remedy(
    tmp_path: Path, repository: type[_Repository], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    jar = _jar(tmp_path, "a", b"content")
    monkeypatch.setenv("MILEPOST_MAVEN", address)
    with pytest.raises(PartError, match="MILEPOST_MAVEN"):
        fetch_jars([jar])


def test_a_jar_that_is_not_there_is_not_asked_for_again(
    tmp_path: Path, repository: type[_Repository]
) -> None:
    with pytest.raises(PartError, match=r"b-1\.0\.jar: can't be fetched .*404"):
        fetch_jars([Jar("org.example", "b", "1.0", "0" * 64, 1)])
    assert len(repository.asked) == 1


def test_the_lock_of_kafka_is_whole() -> None:
    lock = load_lock(KAFKA_LOCK)
    assert len(lock) == 46
    assert "org.apache.kafka:kafka_2.13:4.3.1" in map(str, lock)


@pytest.mark.parametrize(
    "line",
    [
        "org.example:a:1 abc 5",
        f"org.example:..:1 {'0' * 64} 5",
        f"org.example/x:a:1 {'0' * 64} 5",
        f"org.example:a {'0' * 64} 5",
    ],
)
def test_a_line_that_is_no_jar_is_named(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(f"# comment\n{line}\n")
    with pytest.raises(PartError, match=r"a\.lock:2"):
        load_lock(lock)
