"""Commands of the package: python -m mmrest."""

import pytest

from mmrest.__main__ import main


def test_main_configs_prints_the_path(repo, capsys):
    main(['configs', 'upernet_rest_lite_shapes'])
    assert capsys.readouterr().out == f'{repo / "configs/upernet_rest_lite_shapes.py"}\n'


@pytest.mark.parametrize('argv', [[], ['nothing'], ['configs'], ['configs', 'a', '--list']])
def test_main_wrong_arguments_are_refused(argv, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(argv)
    assert 'usage: python -m mmrest' in capsys.readouterr().err
