"""Description of a test for the reader of its report."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from ...datasets import is_shapes_dataset
from ...engine import base_datasets
from ...utils.resources import relative_to_here
from .record import TestRecord

DRAWN = (
    'Demo data: the images are drawn shapes on textured backgrounds. The numbers say that the code works; they say '
    'nothing about photographs.'
)


def describe_test(cfg: Config, checkpoint: str, record: TestRecord) -> tuple[dict[str, str], list[str]]:
    """Return what was tested on what, and what a reader of the numbers has to know.

    Args:
        cfg (Config): Config of the test, from :func:`mmrest.engine.prepare_test`.
        checkpoint (str): Path or URL of the checkpoint.
        record (TestRecord): Results of the test.

    Returns:
        tuple[dict[str, str], list[str]]: Facts by name, and sentences.
    """
    datasets = list(base_datasets(cfg.test_dataloader))
    places = [f'{dataset.get("type")} in {dataset.get("data_root") or "several folders"}' for dataset in datasets]
    config, weights = (
        path if '://' in path else str(relative_to_here(Path(path).absolute()))
        for path in (str(cfg.filename), checkpoint)
    )
    facts = dict(config=config, checkpoint=weights, data=', '.join(dict.fromkeys(places)))
    facts['images'] = f'{record.num_images}, {len(record.classes)} class{"es" * (len(record.classes) != 1)}'
    if 'module' in cfg.model:
        facts['test-time augmentation'] = str(cfg.model.type)
    roots = [dataset.get('data_root') for dataset in datasets]
    drawn = any(isinstance(root, str) and is_shapes_dataset(root) for root in roots)
    return facts, [DRAWN] * drawn
