"""Draw the shapes dataset into a folder: COCO instance annotations and ADE20K-style label maps."""

from mmrest.commands.draw_shapes import main

if __name__ == '__main__':
    main()
