"""Convert a published checkpoint of ResT or ResTv2: a classifier, or a whole detector or segmentor."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('convert_checkpoint')
