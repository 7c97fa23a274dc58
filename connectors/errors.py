"""What goes wrong between the world and the facts, sorted by what the caller can do about it."""

from __future__ import annotations


class ConnectorError(Exception):
    """Something that stops a source or a run; the message names the place and the remedy."""


class MappingError(ConnectorError):
    """A mapping is wrong, or does not fit a file; the message names the mapping's file."""


class KeyFileError(ConnectorError):
    """The hashing key can't be used."""


class UnreadableFileError(ConnectorError):
    """A file can't be read to its end; `error_class` is the word for it in dead letters."""

    def __init__(self, error_class: str, reason: str) -> None:
        super().__init__(reason)
        self.error_class = error_class
        self.reason = reason
