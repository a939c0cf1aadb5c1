"""Config text in a checkpoint: read, never run."""

import pytest
from mmengine.config import Config

from mmrest.engine.saved_config import read_saved_config


def test_read_saved_config_parses_without_running(tmp_path):
    text = (
        f"a = dict(b=[1, dict(c='x')], d=(2, -3))\nopen('{tmp_path}/ran', 'w')\ne = open('{tmp_path}/ran', 'w')\n"
        "f = {'g': None}\n"
    )
    assert read_saved_config(dict(cfg=text)) == dict(a=dict(b=[1, dict(c='x')], d=(2, -3)), f=dict(g=None))
    assert not list(tmp_path.iterdir())
    assert read_saved_config(dict(cfg='(')) == read_saved_config({}) == read_saved_config(dict(cfg=3)) == {}


@pytest.mark.parametrize('value', [{'a.b': {'x-y': 0.1, 'k': dict(c=(1,))}}, {1: [{2: 'a'}]}, dict(a={}), [-1.5, None]])
def test_read_saved_config_values_are_those_that_mmengine_wrote(value):
    """It writes dict({...}) where a key is not a name."""
    assert read_saved_config(dict(cfg=Config(dict(value=value)).pretty_text)) == dict(value=value)
