"""Do the whole job on data it draws itself: draw, train, test, and picture the results; a few minutes on a CPU."""

from mmrest.commands.run_demo import main

if __name__ == '__main__':
    main()
