"""Validation of every config in the repository, the published and ablation configs included."""

import pytest
from mmengine.config import Config

from mmrest.engine import validation

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from helpers.recipes import CONFIGS  # noqa: E402


@pytest.mark.slow  # as reading all of them is
@pytest.mark.parametrize(
    'path',
    [path for path in sorted(CONFIGS.rglob('*.py')) if '_base_' not in path.parts],
    ids=lambda path: str(path.relative_to(CONFIGS)),
)
def test_validate_config_of_the_repository_finds_nothing(path, monkeypatch):
    """No errors, and no warnings either."""
    monkeypatch.setattr(validation, 'print_log', lambda text, **options: pytest.fail(text))
    validation.validate(Config.fromfile(path), ('train', 'val', 'test'))
