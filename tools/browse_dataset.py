"""Draw what the data pipeline of a config feeds: boxes, masks, label maps and class names, after augmentation."""

from mmrest.commands.browse_dataset import main

if __name__ == '__main__':
    main()
