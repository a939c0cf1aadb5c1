"""The command line of the rounding errors."""

import sys

import pytest

from mmrest.benchmark import numerics


def test_numerics_with_arguments_is_refused(monkeypatch):
    monkeypatch.setattr('mmrest.benchmark.numerics.mean_rms_errors', lambda *_: pytest.fail('measured'))
    monkeypatch.setattr(sys, 'argv', ['numerics', '--nonsense'])
    with pytest.raises(SystemExit, match='2'):
        numerics.main()
