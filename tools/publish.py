"""Write the weights of a training checkpoint to a file to share: with classes, metrics and the config."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('publish')
