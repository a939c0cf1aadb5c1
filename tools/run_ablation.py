"""Train variants of a backbone with several seeds each: one training after the other, and a table of all."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('run_ablation')
