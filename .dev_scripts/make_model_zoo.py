"""Write configs/metafile.yml and docs/model_zoo.md from the configs and the figures of the papers."""

from __future__ import annotations

from pathlib import Path

from model_zoo import make_pages

from mmrest.engine import UsageError, exit_on_user_error
from mmrest.utils.cli import ArgumentParser

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if a file is out of date')
    args = parser.parse_args()
    with exit_on_user_error():
        for name, text in make_pages(ROOT).items():
            path = ROOT / name
            if path.is_file() and path.read_text(encoding='utf-8') == text:
                print(f'{name} is up to date')
            elif args.check:
                raise UsageError(f'{name} is out of date: run python .dev_scripts/make_model_zoo.py')
            else:
                path.write_text(text, encoding='utf-8')
                print(f'wrote {name}')


if __name__ == '__main__':
    main()
