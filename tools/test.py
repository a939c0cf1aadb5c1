"""Test a checkpoint: compute the config's metrics, and on request save or paint predictions."""

from mmrest.commands.test import main

if __name__ == '__main__':
    main()
