"""Config text in a checkpoint: read, never run."""

from mmrest.engine.saved_config import read_saved_config


def test_read_saved_config_parses_without_running(tmp_path):
    text = (
        f"a = dict(b=[1, dict(c='x')], d=(2, -3))\nopen('{tmp_path}/ran', 'w')\ne = open('{tmp_path}/ran', 'w')\n"
        "f = {'g': None}\n"
    )
    assert read_saved_config(dict(cfg=text)) == dict(a=dict(b=[1, dict(c='x')], d=(2, -3)), f=dict(g=None))
    assert not list(tmp_path.iterdir())
    assert read_saved_config(dict(cfg='(')) == read_saved_config({}) == read_saved_config(dict(cfg=3)) == {}
