"""Convert a published checkpoint of ResT or ResTv2: a classifier, or a whole detector or segmentor."""

from mmrest.commands.convert_checkpoint import main

if __name__ == '__main__':
    main()
