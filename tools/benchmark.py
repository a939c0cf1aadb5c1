"""Compare the time and memory of models: measured in turn, in one run; see docs/performance_details.md for examples."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('benchmark')
