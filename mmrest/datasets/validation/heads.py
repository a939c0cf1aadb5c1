"""Numbers of classes of a model beside those of its data."""

from __future__ import annotations

from typing import Any, Iterable, Iterator

from .classes import known_classes

# Parts with a num_classes that counts other things than the classes of the data: objectness, stuff, tasks.
OTHER_PARTS = ('rpn_head', 'semantic_head', 'task_heads', 'backbone', 'neck', 'train_cfg', 'test_cfg')
OTHER_TYPES = ('RPN', 'Semantic', 'Panoptic')


def find_wrong_heads(model: Any, datasets: Iterable[dict], scope: str | None = None) -> list[str]:
    """Return what does not fit between the ``num_classes`` of a model's config and the classes of its datasets.

    Args:
        model (dict): Config of a detector, segmentor or classifier; every nested ``num_classes`` is looked at.
        datasets (iterable[dict]): Configs of datasets; those whose classes are in their data are left out.
        scope (str, optional): The library that the datasets' names belong to; default: the current scope.

    Returns:
        list[str]: A sentence for each number that is wrong, with both numbers and where they are.
    """
    if not isinstance(model, dict) or model.get('language_model'):  # whose classes are words
        return []
    found = {}
    for dataset in datasets:
        classes = known_classes(dataset, scope)
        for path, number in _numbers(model, 'model') if classes else ():
            if number != len(classes):
                names = ', '.join(map(str, classes[:5])) + (', ...' if len(classes) > 5 else '')
                found[path] = (
                    f'{path} is {number}, and {dataset.get("type", "the dataset")} has {len(classes)} '
                    f'classes ({names}): set {path}={len(classes)}, or metainfo.classes of the dataset.'
                )
    return list(found.values())


def _numbers(part: Any, path: str) -> Iterator[tuple[str, int]]:
    """Yield every ``num_classes`` in a nest of configs, with its dotted path."""
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
