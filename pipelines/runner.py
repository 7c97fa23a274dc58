"""Where pipelines run: Beam's options from what a user gives."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions

#: In this process; Beam's `DirectRunner` would try to download another one.
DEFAULT_RUNNER = "--runner=FnApiRunner"
#: What a continuous job needs on Flink. Without the third, jobs stalled now and then before their first output.
_ON_FLINK = (
    "--checkpointing_interval=2000",
    "--externalized_checkpoints_enabled",
    "--finish_bundle_before_checkpointing",
    "--max_bundle_time_mills=200",
)
_PORTABLE = ("portablerunner", "flinkrunner")
#: How finely Flink can ever spread a continuous job: each part costs memory for every remainder that a source leaves.
_MOST_PARALLEL = 8


def pipeline_options(
    options: Sequence[str] = (), *, streaming: bool = False, ends: bool = False
) -> PipelineOptions:
    """Make Beam's options; without `--runner` the pipeline runs in this process.

    Args:
        options: of Beam and its runner, such as `--runner=PortableRunner --job_endpoint=localhost:8099`. They
            win over what is added here.
        streaming: the pipeline goes on until it is cancelled. Flink then keeps checkpoints, every 2 s unless
            `--checkpointing_interval` (milliseconds) says otherwise.
        ends: its sources come to an end, and so shall it.
    """
    given = dict.fromkeys(option.partition("=")[0] for option in options)
    flags = list(options)
    if "--runner" not in given:
        flags.insert(0, DEFAULT_RUNNER)
    if streaming:
        added = ("--streaming", *(_ON_FLINK if runs_elsewhere(options) else ()))
        # Flink keeps a source open for its checkpoints' sake, unless told otherwise.
        added += ("--shutdown_sources_after_idle_ms=0",) if ends and runs_elsewhere(options) else ()
        flags += [flag for flag in added if flag.partition("=")[0] not in given]
    # Steps are classes of modules, which workers import; nothing of this process is sent along.
    made = PipelineOptions(flags, save_main_session=False)
    if streaming and runs_elsewhere(options) and "--max_parallelism" not in given:
        flink = made.view_as(FlinkRunnerOptions)
        flink.max_parallelism = max(_MOST_PARALLEL, flink.parallelism or 1)
    return made


def runs_elsewhere(options: Sequence[str]) -> bool:
    """Say whether the steps run in other processes than this one, which see its files but not its memory."""
    for position, option in enumerate(options):
        name, _, value = option.partition("=")
        if name == "--runner":
            named = value or (options[position + 1] if position + 1 < len(options) else "")
            return named.rpartition(".")[2].lower() in _PORTABLE
    return False
