"""`python -m tests.pipelines.stitch_dying HOME URL STEP` stitches, and kills itself before a step of publishing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from milepost.rules import Rules
from pipelines.stitch import run_stitch
from tests.pipelines.stitching import request
from tests.places import Place

if __name__ == "__main__":
    home, url, death = sys.argv[1:]

    def step(name: str) -> None:
        if name == death:
            os.kill(os.getpid(), signal.SIGKILL)

    run_stitch(request(Place(Path(home), url), Rules()), step=step)
