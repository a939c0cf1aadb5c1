"""Draw a data set, train, test and plot; a few minutes on a CPU."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('run_demo')
