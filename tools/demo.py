"""Paint what a model finds on an image, a folder or a video: boxes, masks, label maps or classes."""

from mmrest.commands.demo import main

if __name__ == '__main__':
    main()
