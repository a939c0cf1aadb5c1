"""The comparison of an exported file with its model."""

import pytest
from helpers.small_exports import ONE_STAGE, randomize_weights

from mmrest.engine import UsageError
from mmrest.export import backbone_target, export


def test_export_of_a_wrong_graph_keeps_no_file(tmp_path, monkeypatch):
    target, other = backbone_target('ResT', options=ONE_STAGE), backbone_target('ResT', options=ONE_STAGE)
    randomize_weights(other)
    monkeypatch.setattr(target, 'exportable', other.exportable, raising=False)
    with pytest.raises(UsageError, match='(?s)differs from the model.*differs in stage1 by'):
        export(target, tmp_path / 'backbone.pt2', (40, 56))  # at one size: recorded sooner
    assert not list(tmp_path.iterdir())
