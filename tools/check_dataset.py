"""Check every file of a dataset: report invalid, misread and skipped files."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('check_dataset')
