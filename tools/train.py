"""Train a model of the OpenMMLab family from its config: a detector, segmentor, classifier or other."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('train')
