"""Personal identifiers never leave the mapping step in clear text: they are normalised and keyed-hashed here."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import phonenumbers
import polars as pl

from connectors.errors import KeyFileError
from schemas.vocabulary import Vocabulary

KEY_FILE = "hashing.key"
KEY_BYTES = 32
#: Hexadecimal digits that are kept of an HMAC: 128 bits.
HASH_DIGITS = 32
#: Stands for a personal value that the blocklist blocks, or that is no such value at all; it never links.
BLOCKED = "(blocked)"

_HASHED = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}")


@dataclass(frozen=True, repr=False)
class HashingKey:
    """The key that identifiers are hashed with."""

    secret: bytes

    @property
    def key_id(self) -> str:
        """A fingerprint that tells keys apart and gives nothing of the key away."""
        return hashlib.sha256(b"milepost key id:" + self.secret).hexdigest()[:16]

    def hash(self, namespace: str, value: str) -> str:
        """Hash one normalised value (32 hexadecimal digits)."""
        message = f"{namespace}:{value}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:HASH_DIGITS]


def load_key(home: Path) -> HashingKey:
    """Load the key of a home, making it at the first run (mode 0600).

    Raises:
        KeyFileError: others can read the file, or it holds no key.
    """
    file = home / KEY_FILE
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        _make_key(file)
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"{file}: can't be read: {error.strerror}; make its owner this user") from error
    with os.fdopen(descriptor, "r", encoding="ascii", errors="replace") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        text = opened.read().strip()
    if mode & 0o077:
        raise KeyFileError(f"{file}: others can read it (mode {mode:04o}); run: chmod 600 {file}")
    if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
        raise KeyFileError(
            f"{file}: not {2 * KEY_BYTES} hexadecimal digits; restore the key from a backup. With another key "
            "every hashed identifier is a new one"
        )
    return HashingKey(bytes.fromhex(text))


def _make_key(file: Path) -> None:
    """Write a new key whole, or leave the one that another process has just made."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(KEY_BYTES) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def normalise_email(value: str) -> str | None:
    """Bring an e-mail address into the one form that is hashed; None for what is no address."""
    text = unicodedata.normalize("NFKC", value).strip().lower()
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        return None
    return f"{local}@{domain.casefold()}"


def normalise_phone(value: str, region: str | None) -> str | None:
    """Bring a telephone number into E.164; None for what is no number (without a region: no international one)."""
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


@dataclass(frozen=True)
class Identifiers:
    """Makes `namespace:value` of what mappings yield, personal namespaces hashed.

    `clear_text` names the personal namespaces that a source keeps readable.
    """

    vocabulary: Vocabulary
    key: HashingKey
    phone_region: str | None = None
    clear_text: tuple[str, ...] = ()

    def value(self, namespace: str, value: str) -> str | None:
        """Give the value to store; None for an empty one.

        A personal value that the blocklist blocks, or that is no address or number, becomes `(blocked)`.
        What is hashed already (32 hexadecimal digits) stays.
        """
        text = value.strip()
        if not text:
            return None
        words = self.vocabulary.namespaces.get(namespace)
        if words is None or words.personal is None or _HASHED.fullmatch(text):
            return text
        if self.vocabulary.blocklist.blocks(text):
            return BLOCKED
        form = (
            normalise_email(text) if words.personal == "email" else normalise_phone(text, self.phone_region)
        )
        if form is None or self.vocabulary.blocklist.blocks(form):
            return BLOCKED
        return form if namespace in self.clear_text else self.key.hash(namespace, form)

    def identifier(self, text: str) -> str | None:
        """Give `namespace:value` with a personal value hashed; None where no value follows the first colon."""
        namespace, _, value = text.strip().partition(":")
        kept = self.value(namespace, value)
        return None if kept is None else f"{namespace}:{kept}"

    def column(self, namespace: str, values: pl.Series) -> pl.Series:
        """Give `namespace:value` for a column of values (String); every distinct value is worked out once."""
        if self._personal(namespace):
            return _by_distinct(values, lambda value: _named(namespace, self.value(namespace, value)))
        stripped = pl.col(values.name).str.strip_chars()
        return values.to_frame().select(
            pl.when(stripped.str.len_bytes() > 0).then(pl.lit(f"{namespace}:") + stripped).alias(values.name)
        )[values.name]

    def named_column(self, values: pl.Series) -> pl.Series:
        """Give `identifier` for a column of `namespace:value` (String)."""
        return _by_distinct(values, self.identifier)

    def _personal(self, namespace: str) -> bool:
        words = self.vocabulary.namespaces.get(namespace)
        return words is not None and words.personal is not None


def _named(namespace: str, value: str | None) -> str | None:
    return None if value is None else f"{namespace}:{value}"


def _by_distinct(values: pl.Series, work: object) -> pl.Series:
    distinct = values.drop_nulls().unique()
    made = pl.Series([work(value) for value in distinct], dtype=pl.String)  # type: ignore[operator]
    return values.replace_strict(distinct, made, default=None, return_dtype=pl.String)
