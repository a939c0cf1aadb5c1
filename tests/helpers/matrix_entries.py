"""An entry of docs/compatibility.json."""

ENTRY = dict(
    date='2026-12-01',
    operators='mmrest',
    processor='A processor',
    tests='matrix',
    passed=20,
    failed=1,
    skipped=2,
    failures={'tests.test_a::test_bad': 'assert 1 == 2'},
    install_seconds=90,
    megabytes=6000,
    versions={
        'python': '3.12.1',
        'torch': 'torch 2.14.1',
        'numpy': 'numpy 2.5.5',
        'opencv': 'opencv-python 5.0.0.93, opencv-python-headless 5.0.0.93',
        'mmengine': 'onedl-mmengine 0.10.12',
        'mmcv': 'mmcv-lite 2.1.0',
        'mmdet': 'mmdet 3.3.0',
        'mmseg': 'mmsegmentation 1.2.2',
    },
)
