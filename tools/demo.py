"""Paint what a model finds on an image, a folder or a video: boxes, masks, label maps or classes."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('demo')
