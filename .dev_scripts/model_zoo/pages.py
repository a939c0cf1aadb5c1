"""Text of the generated pages: the model index and the model zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import yaml

from mmrest.analysis.papers import GMACS, MIOU, PAPERS, PARAMS, TOP1
from mmrest.utils.tables import format_markdown

from .entries import ADE20K_SIZE, COCO_SIZE, MASKS, SIZES, TASKS, Entry, config_files, describe

METAFILE, ZOO_PAGE = 'configs/metafile.yml', 'docs/model_zoo.md'
CONVENTION = (
    'multiply-accumulates of convolutions, linear layers and the two matrix products of attention; counted by mmrest'
)
PRINTED = 'printed by the authors; not reproduced by mmrest'
MEASURED_HERE = 'measured by mmrest: trained from scratch on a CPU'
# Metrics that the tables show.
MAIN = ('box AP', 'mask AP', 'mIoU', MIOU, TOP1)
ARCHITECTURE = {'ResT': ['EMSA', 'Pixel Attention'], 'ResTv2': ['EMSAv2', 'Pixel Attention']}

Column = tuple[str, Callable[[Entry], str]]


def make_pages(root: Path) -> dict[str, str]:
    """Return the text of the generated pages by their path in the repository.

    Args:
        root (Path): Root of the repository.
    """
    entries = [describe(path, root) for path in config_files(root)]
    return {METAFILE: make_metafile(entries), ZOO_PAGE: make_zoo_page(entries)}


def make_metafile(entries: Sequence[Entry]) -> str:
    """Return the model index in the YAML format of OpenMMLab, without weights, which have no public link."""
    collections = [
        {
            'Name': name,
            'Metadata': {'Architecture': ARCHITECTURE[name]},
            'Paper': {'Title': paper['title'], 'URL': paper['url']},
        }
        for name, paper in PAPERS.items()
    ]
    index = {'Collections': collections, 'Models': [_model(entry) for entry in entries]}
    return '# Made by .dev_scripts/make_model_zoo.py: do not edit.\n' + yaml.safe_dump(
        index, sort_keys=False, width=120, allow_unicode=True
    )


def _model(entry: Entry) -> dict:
    convention = CONVENTION + ''.join(f'; without {part}' for part in entry.uncounted)
    height, width = entry.size
    metadata = {
        'Parameters': entry.params,
        'FLOPs': entry.macs,
        'FLOPs Convention': convention,
        'FLOPs Image Size': f'{height} x {width} (height x width)',
        'Training Data': entry.data,
    }
    if not entry.is_published:  # configs that only test
        metadata.update(
            {
                'Epochs' if entry.by_epoch else 'Iterations': entry.length,
                'Batch Size': entry.batch,
                'Training Techniques': entry.techniques,
            }
        )
    metadata['Architecture'] = [entry.model + (f' ({entry.variant})' if entry.variant else '')]
    if entry.method != 'ImageClassifier':
        metadata['Architecture'].append(entry.method)
    results = [{'Task': task, 'Dataset': entry.data, 'Metrics': metrics} for task, metrics in _by_task(entry)]
    if results:  # in the metadata, which `mim search` shows
        metadata['Figures'] = MEASURED_HERE if entry.is_measured else PRINTED
    model = {'Name': entry.name, 'In Collection': entry.backbone, 'Config': entry.path, 'Metadata': metadata}
    return {**model, 'Results': results} if results else model


def _by_task(entry: Entry) -> list[tuple[str, dict[str, float]]]:
    """Return the metrics of each task; those of masks belong to instance segmentation."""
    masks = {name: value for name, value in entry.metrics.items() if name.startswith('mask')}
    others = {name: value for name, value in entry.metrics.items() if name not in masks}
    task = TASKS['mmdet'] if entry.task == MASKS else entry.task
    return [(task, metrics) for task, metrics in ((task, others), (MASKS, masks)) if metrics]


def make_zoo_page(entries: Sequence[Entry]) -> str:
    """Return the model zoo in Markdown, with tables as in the model zoos of mmdet, mmseg and mmpretrain."""
    recipes = sorted((entry for entry in entries if not (entry.is_published or entry.is_ablation)), key=_order)
    shapes = [entry for entry in entries if entry.data == 'drawn shapes']
    published = [entry for entry in entries if entry.is_published]
    ablations = sorted((entry for entry in entries if entry.is_ablation and entry.data != 'drawn shapes'), key=_order)
    parts = [_PREFACE]
    for title, method in (('RetinaNet', 'RetinaNet'), ('Mask R-CNN', 'MaskRCNN')):
        rows = [entry for entry in recipes if entry.data == 'COCO' and entry.method == method]
        masks = [('mask AP', _figure('mask AP'))] if method == 'MaskRCNN' else []
        parts += [
            f'## COCO, {title}',
            _table(
                rows,
                [
                    ('Backbone', _backbone),
                    ('Style / out norm', _variant),
                    ('Lr schd', _schedule),
                    ('Params (M)', _params),
                    ('FLOPs (G)', _gmacs),
                    ('box AP', _figure('box AP')),
                    *masks,
                    ('Config', _link),
                ],
            ),
        ]
    parts += [
        '## ADE20K, UPerNet',
        _table(
            [entry for entry in recipes if entry.data == 'ADE20K'],
            [
                ('Backbone', _backbone),
                ('Crop size', lambda entry: entry.crop),
                ('Lr schd', _schedule),
                ('Params (M)', _params),
                ('FLOPs (G)', _gmacs),
                ('mIoU', _figure('mIoU')),
                ('mIoU(ms+flip)', _figure(MIOU)),
                ('Config', _link),
            ],
        ),
    ]
    classifiers = [('Backbone', _backbone), ('Params (M)', _params), ('FLOPs (G)', _gmacs)]
    parts += [
        '## ImageNet-1k',
        _table(
            [entry for entry in recipes if entry.data == 'ImageNet-1k'],
            [*classifiers, ('Lr schd', _schedule), ('Top-1 (%)', _figure(TOP1)), ('Config', _link)],
        ),
    ]
    parts += [
        '## Ablations of ResT-Lite on ImageNet-1k',
        _ABLATIONS,
        _table(
            ablations,
            [('Arguments', _variant), *classifiers[1:], ('Top-1 (%)', _figure(TOP1, digits=2)), ('Config', _link)],
        ),
    ]
    parts += [
        "## The authors' files",
        _PUBLISHED,
        _table(
            published,
            [
                ('Model', lambda entry: f'{entry.method}, {entry.model}'),
                ('Data', lambda entry: entry.data),
                ('Image', _tested_at),
                ('Figures to expect', _main_figures),
                ('Config', _link),
            ],
        ),
    ]
    parts += [
        '## Drawn shapes',
        _SHAPES,
        _table(
            shapes,
            [
                ('Model', lambda entry: f'{entry.method}, {entry.model}'),
                ('Lr schd', _schedule),
                ('Params (M)', _params),
                ('FLOPs (G)', _gmacs),
                ('Measured here', _main_figures),
                ('Config', _link),
            ],
        ),
    ]
    return '\n\n'.join(parts) + '\n'


def _order(entry: Entry) -> tuple:
    """Return a sort key that puts the default of a backbone before its variants, each in the order of sizes."""
    return entry.backbone, entry.length, entry.variant, SIZES.index(entry.arch)


def _table(entries: Sequence[Entry], columns: Sequence[Column]) -> str:
    return format_markdown([name for name, _ in columns], [[cell(entry) for _, cell in columns] for entry in entries])


def _figure(name: str, digits: int = 1) -> Callable[[Entry], str]:
    return lambda entry: f'{entry.figures[name]:.{digits}f}' if name in entry.figures else '-'


def _main_figures(entry: Entry) -> str:
    return ', '.join(f'{name} {entry.figures[name]}' for name in MAIN if name in entry.figures) or '-'


def _backbone(entry: Entry) -> str:
    return entry.model


def _variant(entry: Entry) -> str:
    return entry.variant or '-'


def _schedule(entry: Entry) -> str:
    if not entry.by_epoch:
        return f'{entry.length}'
    known = {12: '1x', 36: '3x'} if entry.data == 'COCO' else {}
    return known.get(entry.length, f'{entry.length} epochs')


def _params(entry: Entry) -> str:
    return _beside(f'{entry.params / 1e6:.2f}', entry.figures.get(PARAMS))


def _gmacs(entry: Entry) -> str:
    return _beside(f'{entry.macs / 1e9:.1f}', entry.figures.get(GMACS))


def _beside(counted: str, printed: float | None) -> str:
    return counted if printed is None else f'{counted} ({printed})'


def _tested_at(entry: Entry) -> str:
    """Return the image size of a classifier, which is published for two sizes; '-' for other models."""
    return '{}x{}'.format(*entry.size) if entry.data == 'ImageNet-1k' else '-'


def _link(entry: Entry) -> str:
    return f'[config](../{entry.path})'


_PREFACE = f"""<!-- Made by .dev_scripts/make_model_zoo.py: do not edit. -->
# Model zoo

This page lists all configs. [metafile.yml](../configs/metafile.yml) has the same in OpenMMLab's format.

* **AP, mIoU and top-1 are the authors' figures, not reproduced here**; a dash means that they print none.
  Only the figures of the [drawn shapes](#drawn-shapes) were measured with this repository.
* **Params** are counted here and include the heads; the papers' figures are in brackets.
* **FLOPs** are multiply-accumulates of convolutions, linear layers and the two matrix products of attention, as
  `tools/get_flops.py` counts them for one image; the papers' figures are in brackets.
  Images (height x width) are {COCO_SIZE[0]}x{COCO_SIZE[1]} on COCO, {ADE20K_SIZE[0]}x{ADE20K_SIZE[1]} on ADE20K,
  224x224 on ImageNet-1k, and as large as the drawn shapes.
  Mask R-CNN is counted without its RoI heads, whose cost depends on the image.
* [ablations.md](ablations.md#every-architecture-compared-with-the-papers) compares the classifiers with the papers.
* Memory and speed on a GPU have not been measured, so they have no column.
* There are no links to weights: the authors' links are dead or need a login. [checkpoints.md](checkpoints.md) says how
  to use the files."""

_ABLATIONS = 'Tables 5 to 9 of the ResT paper; [ablations.md](ablations.md) describes each row.'

_PUBLISHED = """These configs test the authors' files after conversion ([checkpoints.md](checkpoints.md)).
Their names in the model index end in `_3rdparty`."""

_SHAPES = """The only figures on this page that were **measured with this repository**.
The models were trained from scratch on the 1200 images of `tools/draw_shapes.py`, on two CPU cores, and tested on 200
others (mIoU(ms+flip): `--tta`)."""
