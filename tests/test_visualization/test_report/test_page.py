"""The page of a report: well-formed, without anything from elsewhere, and safe with hostile names."""

from collections import Counter

import cv2
import numpy as np
import pytest
from helpers.report_pages import ReportPage

from mmrest.visualization.report import TestRecord, write_report
from mmrest.visualization.report.hook import to_jpeg
from mmrest.visualization.report.page import timing_rows
from mmrest.visualization.report.record import Picture, Timings

pytest.importorskip('jinja2')

HOSTILE = '<script>alert(1)</script>'
QUOTES = '" onload="alert(2)'


@pytest.fixture
def picture():
    return to_jpeg(np.full((12, 20, 3), (250, 10, 10), np.uint8))


def record(**fields):
    pairs = Counter({(0, 0): 2, (0, 1): 1, (-1, 1): 1})
    return TestRecord(
        **dict(task='detection', classes=('a', 'b'), num_images=2, num_judged=2, pairs=pairs, metrics={'AP': 0.5})
        | fields
    )


def write(tmp_path, result, title='model', **settings):
    return ReportPage(write_report(result, tmp_path / 'out', title, settings.pop('facts', {}), **settings))


def test_page_escapes_names(tmp_path, picture):
    worst = [Picture(0, f'{HOSTILE}.png', f'text {HOSTILE}', 1, [(QUOTES, picture)]), Picture(1, QUOTES, fault=HOSTILE)]
    result = record(classes=(HOSTILE, QUOTES), worst=worst, examples=worst, metrics={HOSTILE: 0.5}, class_ap={})
    page = write(tmp_path, result, HOSTILE, facts={QUOTES: HOSTILE}, notes=[HOSTILE])
    assert not {'script', 'iframe', 'object', 'link', 'form'} & set(page.tags)
    assert page.column('classes', 'objects') == {HOSTILE: '3', QUOTES: '0'}
    assert page.cards == {HOSTILE: '0.500'} and HOSTILE in page.notes
    assert [name for name, _ in page.pictures] == [f'{QUOTES} of {HOSTILE}.png'] * 2
    assert page.texts.count(f'1. {HOSTILE}.png') == 1 and f'It cannot be painted: {HOSTILE}' in page.notes
    text = (tmp_path / 'out/index.html').read_text()
    assert "default-src 'none'" in text and HOSTILE not in text


def test_page_holds_pictures_and_charts(tmp_path, picture):
    result = record(worst=[Picture(0, 'a.png', '1 missed', 1, [('annotations', picture), ('predictions', picture)])])
    page = write(tmp_path, result, charts=[('losses', '<svg><path d="M0 0"/></svg>')])
    assert [alt for alt, _ in page.pictures] == ['annotations of a.png', 'predictions of a.png']
    assert np.abs(page.pictures[0][1].astype(int) - (10, 10, 250)).max() < 6
    assert 'svg' in page.tags and '1 missed' in page.texts


@pytest.mark.parametrize(
    'fields, note, lacks',
    [
        (dict(format_only=True, num_judged=0, pairs=Counter(), metrics={}), 'only formats results', 'confusion'),
        (dict(num_judged=0, pairs=Counter(), metrics={}), 'no annotations that could', 'confusion'),
        (dict(num_judged=1), '1 of 2 images have no annotations', None),
        (dict(metrics={}), 'computed nothing; that of COCO', None),
        (dict(task='segmentation', metrics={}), 'computed nothing.', 'worst'),
        (dict(pairs=Counter()), None, 'confusion'),
        (dict(pairs=Counter({(0, 0): 1}), classes=('a',)), None, None),
        (
            dict(task='', classes=(), num_images=0, num_judged=0, pairs=Counter(), metrics={}),
            'no annotations',
            'confusion',
        ),
    ],
)
def test_page_of_a_test_that_lacks_something_says_so(tmp_path, fields, note, lacks):
    if fields.get('task') == 'segmentation':
        pytest.importorskip('mmseg.evaluation')
    page = write(tmp_path, record(**fields))
    assert (note in page.notes[0]) if note else page.notes == []
    assert lacks is None or lacks not in page.tables
    assert 'There is no log of a training in the folder of the checkpoint.' in page.texts


def test_page_of_a_perfect_test_says_that_nothing_is_wrong(tmp_path):
    assert 'Nothing is wrong in any of the images.' in write(tmp_path, record(pairs=Counter({(0, 0): 3}))).texts


def test_page_states_its_thresholds(tmp_path):
    texts = ' '.join(write(tmp_path, record(score_thr=0.45, iou_thr=0.6)).texts)
    assert 'score of at least 0.45' in texts and 'from an IoU of 0.6' in texts


def test_page_with_a_name_that_is_no_text_is_written(tmp_path):
    assert '1. image?.png' in write(tmp_path, record(worst=[Picture(0, 'image\udce9.png')])).texts


def test_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write(tmp_path, record())
    before = (tmp_path / 'out/index.html').read_bytes()
    monkeypatch.setattr('mmrest.utils.fileio._write', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    with pytest.raises(OSError, match='full'):
        write(tmp_path, record(), 'other')
    assert [path.read_bytes() for path in (tmp_path / 'out').iterdir()] == [before]


def test_timing_rows_take_the_median_without_the_first_batch():
    timings = Timings(
        [9.0, 0.2, 0.4, 0.1], [4, 2, 2, 1], loading=1.25, report=0.5, evaluation=2.0, device='CPU, 2 threads'
    )
    rows = dict(timing_rows(timings, 1))
    assert rows['model, per image'].startswith('100.0 ms, median') and rows['device'] == 'CPU, 2 threads'
    assert rows['model, total'].startswith('9.7 s') and rows['images'] == '9 in 4 batches of up to 4'
    assert 'processes' not in rows and dict(timing_rows(timings, 3))['processes'].startswith('3;')
    assert 'model, per image' not in dict(timing_rows(Timings([9.0], [4]), 1)) and timing_rows(Timings(), 1) == []


def test_to_jpeg_makes_large_pictures_smaller(picture):
    def shape(content):
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape

    assert shape(to_jpeg(np.zeros((900, 300, 3), np.uint8), 600)) == (600, 200, 3) and shape(picture) == (12, 20, 3)
    assert shape(to_jpeg(np.zeros((2, 5000, 3), np.uint8))) == (1, 640, 3)
