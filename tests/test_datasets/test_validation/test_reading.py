"""JSON in pieces is the JSON of the standard library, and progress adds up to the whole file."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrest.datasets.validation import DataError
from mmrest.datasets.validation.reading import parse_json, read_json

OBJECTS = [
    {'id': i, 'name': f'}}, {{ "{i}"', 'inner': [{'a': i}, {'b': [1.5, {}]}], 'segmentation': [[i] * 8]}
    for i in range(40)
]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('}{,[]" \\:a', max_size=9)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('}{,"a', max_size=4), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize('piece', [10, 60, 200, 1000, 10**6])
@pytest.mark.parametrize('layout', [dict(), dict(indent=2), dict(separators=(',', ':'))])
@pytest.mark.parametrize(
    'content',
    [
        dict(info={}, annotations=OBJECTS, images=OBJECTS[:3], categories=[]),
        dict(a=OBJECTS),
        {},
        [],
        OBJECTS,
        'text',
        dict(a=[OBJECTS, OBJECTS], b=1),
        dict(a=[1, 2, {}, {'x': 1}, {}]),
    ],
)
def test_parse_json_in_pieces_equals_the_content(content, layout, piece):
    text, steps = json.dumps(content, **layout), []
    assert parse_json(f' {text}\n', steps.append, piece) == content
    if isinstance(content, dict):
        assert min(steps, default=0) >= 0 and sum(steps) <= len(text) + 2
        assert len(text) < 2 * piece or sum(steps) > 0.5 * len(text) - 20 or not content


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(st.text('ab', max_size=2), st.lists(st.dictionaries(st.text('}{,', max_size=2), VALUES)) | VALUES)
)
def test_parse_json_any_content_equals_it(content):
    for piece in (5, 30):
        assert parse_json(json.dumps(content), lambda steps: None, piece) == content


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{',
        '{"a": [{}, {}',
        '{"a": 1,}',
        '{"a": 1} x',
        '{"a": [{}, {},]}',
        '{1: 2}',
        '{"a": [{}, {}] "b": 1}',
        '{"a"}',
        '[' * 100000,
        '{,}',
        '{"a": [{}}, {}]}',
    ],
)
def test_read_json_malformed_raises(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises((ValueError, RecursionError)):
        parse_json(text, lambda steps: None, 3)
    with pytest.raises(DataError, match='a.json is not a valid JSON file'):
        read_json(path)
    assert gc.isenabled()
