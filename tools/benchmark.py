"""Compare the time and memory of models, measured in turn in one run; see docs/performance.md for examples."""

from mmrest.benchmark.cli import add_arguments, run
from mmrest.checkpoints import use_safe_loading
from mmrest.engine import exit_on_user_error
from mmrest.utils.cli import ArgumentParser


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    args = parser.parse_args()
    use_safe_loading()
    with exit_on_user_error():
        run(args)


if __name__ == '__main__':
    main()
