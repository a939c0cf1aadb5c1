"""Test a checkpoint: compute the config's metrics, and on request save or paint predictions."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('test')
