"""Draw what the data pipeline of a config feeds: boxes, masks, label maps and class names, after augmentation."""

from mmrest_cli import run_tool

if __name__ == '__main__':
    run_tool('browse_dataset')
