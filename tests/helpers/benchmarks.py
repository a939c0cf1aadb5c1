"""Runs of the benchmark in this process."""

from mmrest.benchmark.run import run
from mmrest.benchmark.settings import Settings
from mmrest.commands.benchmark import build_parser


def run_benchmark(*words) -> list[dict]:
    """Return the rows that the benchmark measures with these command-line words."""
    return run(Settings(**vars(build_parser().parse_args([str(word) for word in words]))))
