"""Runs of the benchmark in this process."""

import argparse

from mmrest.benchmark.cli import add_arguments, run


def run_benchmark(*words) -> list[dict]:
    """Return the rows that the benchmark measures with these command-line words."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))
