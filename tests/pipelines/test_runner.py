"""Options of Beam from what a user gives."""

from __future__ import annotations

import pytest

from pipelines.runner import pipeline_options, runs_elsewhere

FLINK = ["--runner=PortableRunner", "--job_endpoint=localhost:8099"]


def _given(options: list[str], *, streaming: bool = False) -> dict[str, object]:
    found: dict[str, object] = pipeline_options(options, streaming=streaming).get_all_options(
        drop_default=True, retain_unknown_options=True
    )
    return found


def test_without_a_runner_it_is_this_process() -> None:
    assert _given([])["runner"] == "FnApiRunner"
    assert _given(["--runner", "PrismRunner"])["runner"] == "PrismRunner"


def test_a_continuous_job_on_flink_keeps_checkpoints() -> None:
    given = _given(FLINK, streaming=True)
    assert given["checkpointing_interval"] == "2000"
    assert given["finish_bundle_before_checkpointing"] is True
    assert given["streaming"] is True
    assert "checkpointing_interval" not in _given(FLINK)
    assert "checkpointing_interval" not in _given([], streaming=True)


def test_what_is_given_wins() -> None:
    given = _given([*FLINK, "--checkpointing_interval=500", "--max_parallelism=32"], streaming=True)
    assert given["checkpointing_interval"] == "500"
    assert given["max_parallelism"] == 32


@pytest.mark.parametrize(
    ("parallelism", "most"), [([], 8), (["--parallelism=2"], 8), (["--parallelism=16"], 16)]
)
def test_no_job_is_refused_for_its_parallelism(parallelism: list[str], most: int) -> None:
    assert _given([*FLINK, *parallelism], streaming=True)["max_parallelism"] == most


@pytest.mark.parametrize(
    ("options", "elsewhere"),
    [
        ([], False),
        (["--runner=FnApiRunner"], False),
        (["--runner"], False),
        (["--runner", "PortableRunner"], True),
        (["--runner=apache_beam.runners.portability.flink_runner.FlinkRunner"], True),
    ],
)
def test_what_runs_elsewhere(options: list[str], elsewhere: bool) -> None:
    assert runs_elsewhere(options) is elsewhere
