"""Draw figures of the papers for any model and images: writes a picture and its numbers."""

from mmrest.commands.analyze import main

if __name__ == '__main__':
    main()
