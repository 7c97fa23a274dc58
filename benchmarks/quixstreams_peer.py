"""The folding job on Quix Streams, in an environment of its own: `… BOOTSTRAP TOPIC EVENTS STATE_FOLDER` prints JSON.

As its guides have it: one process, state in RocksDB, with a changelog topic on Kafka.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from quixstreams import Application, State

from benchmarks import fold_rule


def main(bootstrap: str, topic: str, events: str, folder: str) -> None:
    """Run the job over so many events."""
    app = Application(
        broker_address=bootstrap,
        consumer_group="quixstreams-peer",
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="ERROR",
    )
    states: dict[str, fold_rule.State] = {}

    def step(event: dict[str, Any], state: State) -> None:
        after = fold_rule.fold(state.get("journey"), event)
        state.set("journey", after)
        states[event["customer"]] = after

    app.dataframe(app.topic(topic, value_deserializer="json")).update(step, stateful=True)
    cpu, wall = time.process_time(), time.monotonic()
    app.run(count=int(events), collect=False)
    print(
        json.dumps(
            {
                "cpu_seconds": time.process_time() - cpu,
                "wall_seconds": time.monotonic() - wall,
                "checksum": fold_rule.checksum(states),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
