"""Where the commands print: text for people on one console, JSON for programs on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

#: Standard output, for what was asked for.
out = Console(highlight=False)
#: Standard error, for progress, warnings and errors.
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document; times and decimals become text."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
