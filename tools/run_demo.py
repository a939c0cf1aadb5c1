"""Draw a data set, train, test and plot; a few minutes on a CPU."""

from mmrest.commands.run_demo import main

if __name__ == '__main__':
    main()
