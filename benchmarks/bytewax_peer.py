"""The folding job on Bytewax, in an environment of its own: `… BOOTSTRAP TOPIC EVENTS STATE_FOLDER` prints JSON.

As its guides have it: one worker, `stateful_map`, its states kept in SQLite for recovery.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, cluster_main

from benchmarks import fold_rule


def main(bootstrap: str, topic: str, events: str, folder: str) -> None:
    """Run the job over all events of the topic."""
    states: dict[str, fold_rule.State] = {}

    def parse(message: Any) -> tuple[str, dict[str, Any]]:
        return message.key.decode(), json.loads(message.value)

    def step(state: fold_rule.State | None, event: dict[str, Any]) -> tuple[fold_rule.State, fold_rule.State]:
        after = fold_rule.fold(state, event)
        states[event["customer"]] = after
        return after, after

    flow = Dataflow("fold")
    messages = op.input("read", flow, KafkaSource([bootstrap], [topic], tail=False, batch_size=1000))
    folded = op.stateful_map("fold", op.map("parse", messages, parse), step)
    nothing = op.filter("drop", folded, lambda _: False)
    op.output("end", nothing, TestingSink([]))
    Path(folder).mkdir(parents=True, exist_ok=True)
    init_db_dir(Path(folder), 1)
    cpu, wall = time.process_time(), time.monotonic()
    cluster_main(flow, [], 0, recovery_config=RecoveryConfig(Path(folder)))
    used = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.monotonic() - wall}
    if sum(state[-1] for state in states.values()) != int(events):
        raise SystemExit("not all events were folded")
    print(json.dumps({**used, "checksum": fold_rule.checksum(states)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
