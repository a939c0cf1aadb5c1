"""Check every file of a dataset: find what a run would stop at, learn wrong things from, or leave out."""

from mmrest.commands.check_dataset import main

if __name__ == '__main__':
    main()
