"""Compare the time and memory of models: measured in turn, in one run; see docs/performance_details.md for examples."""

from mmrest.commands.benchmark import main

if __name__ == '__main__':
    main()
