"""Compare the time and memory of models, measured in turn in one run; see docs/performance.md for examples."""

from mmrest.benchmark.cli import add_arguments, run
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import clear_errors
from mmrest.utils.cli import ArgumentParser


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    args = parser.parse_args()
    use_safe_loading()
    with clear_errors():
        run(args)


if __name__ == '__main__':
    main()
