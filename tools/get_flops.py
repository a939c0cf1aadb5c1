"""Count parameters and multiply-accumulates (MACs) by stage: of a backbone, or of the model of a config."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('get_flops')
