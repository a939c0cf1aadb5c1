"""Consistency of ``num_classes`` of heads with the datasets."""

from __future__ import annotations

from typing import Any, Iterable, Iterator

from .classes import find_own_classes, known_classes
from .coco import write_classes

# Modules whose num_classes does not count dataset classes, but objectness, stuff or tasks.
OTHER_PARTS = ('rpn_head', 'semantic_head', 'task_heads', 'backbone', 'neck', 'train_cfg', 'test_cfg')
OTHER_TYPES = ('RPN', 'Semantic', 'Panoptic')


def find_wrong_heads(model: Any, datasets: Iterable[dict], scope: str | None = None) -> list[str]:
    """Return an error for each ``num_classes`` of a model that differs from the number of classes of a dataset.

    Args:
        model (dict): Config of a detector, segmentor or classifier.
        datasets (iterable[dict]): Configs of datasets; those that read their classes from the data are skipped.
        scope (str, optional): Default scope of the dataset types. Default: the current scope.
    """
    if not isinstance(model, dict) or model.get('language_model'):  # open-vocabulary models
        return []
    found = {}
    for dataset in datasets:
        classes = known_classes(dataset, scope)
        wrong = [(path, number) for path, number in _numbers(model, 'model') if classes and number != len(classes)]
        own = find_own_classes(dataset, classes) if classes and wrong else ()
        for path, number in wrong:
            names = ', '.join(map(str, classes[:5])) + (', ...' if len(classes) > 5 else '')
            found[path] = (
                f'{path} is {number}, but {dataset.get("type", "the dataset")} has {len(classes)} classes ({names}): '
                + (
                    f'the config names none, and those in {dataset["ann_file"]} are others. Write '
                    f'metainfo={write_classes(own)} into the dataset'
                    + (f'; {path} is right then.' if number == len(own) else f', and set {path}={len(own)}.')
                    if own
                    else f'set {path}={len(classes)}, or metainfo.classes of the dataset.'
                )
            )
    return list(found.values())


def _numbers(part: Any, path: str) -> Iterator[tuple[str, int]]:
    """Yield every ``num_classes`` in nested configs, with its dotted path."""
    if isinstance(part, (list, tuple)):
        for index, one in enumerate(part):
            yield from _numbers(one, f'{path}.{index}')
    if not isinstance(part, dict) or any(word in str(part.get('type')) for word in OTHER_TYPES):
        return
    number = part.get('num_classes')
    if type(number) is int and not part.get('class_agnostic'):
        yield f'{path}.num_classes', number
    for key, value in part.items():
        if key not in OTHER_PARTS and not key.startswith('loss'):
            yield from _numbers(value, f'{path}.{key}')
