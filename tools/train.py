"""Train a detector, segmentor or other model of the OpenMMLab family from its config."""

from mmrest.commands.train import main

if __name__ == '__main__':
    main()
