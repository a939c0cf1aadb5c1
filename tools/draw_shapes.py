"""Draw the shapes dataset into a folder: COCO instance annotations and ADE20K-style label maps."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('draw_shapes')
