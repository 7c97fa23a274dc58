"""Runs a collector as a process of its own: `python -m tests.connectors.collector.run HOME SETTINGS KAFKA`.

Settings are JSON; once it takes requests it prints its port.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from connectors.collector.serve import serve
from connectors.collector.settings import CollectorSettings
from connectors.kafka.settings import KafkaSettings


def main(home: str, settings: str, kafka: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    serve(
        CollectorSettings.model_validate_json(settings),
        KafkaSettings.model_validate_json(kafka),
        Path(home),
        lambda _, port: print(port, flush=True),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
