"""Report of findings, and errors that come out of worker processes."""

from mmrest.datasets.validation import DataError, Report
from mmrest.datasets.validation.report import SampleError


def test_report_counts_all_and_names_some():
    report = Report(examples=2)
    report.errors_at('broken', [4, 7, 9], lambda index: (f'{index}.png', 'is empty'))
    report.warn('gray', 'a.png')
    report.count('images read', 10)
    assert report.errors == {'broken': dict(count=3, examples=['4.png: is empty', '7.png: is empty'])}
    assert str(report).splitlines() == [
        'Checked: 10 images read',
        'error: broken (3)',
        '    4.png: is empty',
        '    7.png: is empty',
        '    and 1 more',
        'warning: gray (1)',
        '    a.png',
        '3 errors, 1 warnings',
    ]


def test_report_without_findings_lists_nothing():
    report = Report()
    report.errors_at('broken', [], lambda index: ('', ''))
    assert report.as_dict() == dict(checked={}, errors={}, warnings={})
    assert str(report) == 'Checked: nothing\n0 errors, 0 warnings'


def test_data_error_from_a_worker_keeps_only_the_message():
    text = 'Caught DataError.\nOriginal Traceback (most recent call last):\n ...\nDataError: a.png is empty\n'
    assert str(DataError(text)) == 'a.png is empty'
    assert str(SampleError('a.png is empty', 'image')).startswith('a.png is empty. To find all such files')
