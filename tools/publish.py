"""Write the weights of a training checkpoint to a file to share, with classes, metrics and the config."""

from mmrest.commands.publish import main

if __name__ == '__main__':
    main()
