"""Train a model of the OpenMMLab family from its config: a detector, segmentor, classifier or other."""

from mmrest.commands.train import main

if __name__ == '__main__':
    main()
