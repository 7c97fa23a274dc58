"""`python -m tests.bad_input.vanishing FILE ARGUMENTS` is `milepost ARGUMENTS` while somebody moves FILE away.

It goes once the files have been found, before any is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from milepost.cli import main
from pipelines import ingest
from pipelines.ingest_plan import Found, Plan, discover

if __name__ == "__main__":
    file = Path(sys.argv.pop(1))

    def moved_away(plan: Plan) -> Found:
        found = discover(plan)
        file.rename(file.with_name(f".{file.name}"))
        return found

    setattr(ingest, "discover", moved_away)  # noqa: B010
    main()
