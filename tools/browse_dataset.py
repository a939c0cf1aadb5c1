"""Draw what the data pipeline of a config feeds, after augmentation: boxes, masks, label maps and class names."""

from mmrest.commands.browse_dataset import main

if __name__ == '__main__':
    main()
