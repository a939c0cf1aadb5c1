"""Check every file of a dataset: report invalid, misread and skipped files."""

from mmrest.commands.check_dataset import main

if __name__ == '__main__':
    main()
