"""What a person types to name a customer, brought into the form that the warehouse holds."""

from __future__ import annotations

from pathlib import Path

from connectors.keys import BLOCKED, KEY_FILE, Identifiers, load_key
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.project import PROJECT_FILE, Project, load_project
from schemas.vocabulary import load_vocabulary


def project_here(project: Path | None) -> Project | None:
    """Load the project that is named, or the one in the present folder if there is one."""
    if project is None and not (Path.cwd() / PROJECT_FILE).exists():
        return None
    return load_project(project)


def read_identifier(text: str, home: Path, phone_region: str | None = None) -> str:
    """Give `namespace:value` as the warehouse has it: personal values normalised and hashed with the home's key.

    Raises:
        CommandError: it is no identifier of the vocabulary, or it is blocked, or there is no key to hash it with.
    """
    vocabulary = load_vocabulary()
    namespace, colon, value = text.strip().partition(":")
    words = vocabulary.namespaces.get(namespace)
    if not colon or words is None:
        raise CommandError(
            f"{text!r} is no identifier",
            remedy=f"write namespace:value; namespaces are {', '.join(vocabulary.namespaces)}",
            code=ExitCode.USAGE,
        )
    if words.personal is None:
        kept = value.strip()
        if vocabulary.blocklist.blocks(kept):
            raise _blocked(namespace)
        return f"{namespace}:{kept}"
    if not (home / KEY_FILE).exists():
        # A new key would be made here, and would find nobody.
        raise CommandError(
            f"there is no key in {home} to hash the {words.label.lower()} with",
            remedy="`milepost run` makes one at its first run; after a loss, `milepost restore` brings it back",
        )
    identifier = Identifiers(vocabulary, load_key(home), phone_region).identifier(text)
    if identifier is None or identifier == f"{namespace}:{BLOCKED}":
        raise _blocked(namespace)
    return identifier


def _blocked(namespace: str) -> CommandError:
    return CommandError(
        f"this {namespace} is empty, blocked, or not one at all: it never links and belongs to nobody",
        remedy="correct the value; telephone numbers without a country code need `phone_region` in milepost.yaml",
        code=ExitCode.USAGE,
    )
