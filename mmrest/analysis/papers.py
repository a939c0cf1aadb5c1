"""Figures that the papers and the authors' repositories print, by the name of the config; none was reproduced here.

AP, mIoU and top-1 are in per cent, parameters in millions and MACs in billions. Everything else in the repository
takes these figures from here.
"""

from __future__ import annotations

PAPERS = {
    'ResT': dict(title='ResT: An Efficient Transformer for Visual Recognition', url='https://arxiv.org/abs/2105.13677'),
    'ResTv2': dict(title='ResT V2: Simpler, Faster and Stronger', url='https://arxiv.org/abs/2204.07366'),
}

# Parameters in millions and GMACs at 224 x 224, with the 1000-way classifier (ResT, Table 2).
REST = {'lite': (10.49, 1.4), 'small': (13.66, 1.94), 'base': (30.28, 4.26), 'large': (51.63, 7.91)}
# The same of ResTv2, with GMACs at 224 x 224 and at 384 x 384.
RESTV2 = {
    'tiny': (30.43, 4.10, 12.67),
    'small': (41.21, 5.97, 18.43),
    'base': (55.97, 7.88, 24.31),
    'large': (86.53, 13.83, 42.38),
}

# Names of metrics in model indices of OpenMMLab.
TOP1, MIOU = 'Top 1 Accuracy', 'mIoU(ms+flip)'
PARAMS, GMACS = 'Parameters (M)', 'GMACs'

_RETINANET = ('box AP', 'box AP50', 'box AP75', 'box APs', 'box APm', 'box APl', PARAMS)
_MASK_RCNN = ('box AP', 'box AP50', 'box AP75', 'mask AP', 'mask AP50', 'mask AP75', PARAMS)
_MASK_RCNN_3X = ('box AP', 'mask AP', PARAMS)
_UPERNET = (MIOU, PARAMS, GMACS)  # GMACs at 512 x 2048


def _table(columns: tuple[str, ...], rows: dict[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
    """Return rows of figures by the names of their columns; a row may be shorter than the header."""
    return {name: dict(zip(columns, row)) for name, row in rows.items()}


FIGURES: dict[str, dict[str, float]] = {
    **_table(
        _RETINANET,
        {
            'retinanet_rest_small_fpn_1x_coco': (40.3, 61.3, 42.7, 25.7, 43.7, 51.2, 23.4),
            'retinanet_rest_base_fpn_1x_coco': (42.0, 63.2, 44.8, 29.1, 45.3, 53.3, 40.5),
            'retinanet_rest_large_fpn_1x_coco': (44.8, 66.1, 48.0, 28.3, 48.7, 60.3, 61.8),
            'retinanet_rest_small_fpn_1x_coco_wo-ln': (39.5,),  # Table 10
            'retinanet_rest_base_fpn_1x_coco_wo-ln': (41.2,),
        },
    ),
    **_table(
        _MASK_RCNN,
        {
            'mask_rcnn_rest_small_fpn_1x_coco': (39.6, 62.9, 42.3, 37.2, 59.8, 39.7, 33.3),
            'mask_rcnn_rest_base_fpn_1x_coco': (41.6, 64.9, 45.1, 38.7, 61.6, 41.4, 49.8),
        },
    ),
    **_table(
        _MASK_RCNN_3X,
        {
            'mask_rcnn_restv2_tiny_fpn_3x_coco': (47.6, 43.2, 49.9),
            'mask_rcnn_restv2_small_fpn_3x_coco': (48.1, 43.3, 60.7),
            'mask_rcnn_restv2_base_fpn_3x_coco': (48.7, 43.9, 75.5),
        },
    ),
    **_table(
        _UPERNET,
        {
            'upernet_restv2_tiny_512x512_160k_ade20k': (47.3, 62.1, 977),
            'upernet_restv2_small_512x512_160k_ade20k': (49.2, 72.9, 1035),
            'upernet_restv2_base_512x512_160k_ade20k': (49.6, 87.6, 1095),
        },
    ),
    **_table(
        (TOP1,),
        {
            'rest_lite_8xb256_in1k': (77.2,),
            'rest_small_8xb256_in1k': (79.6,),
            'rest_base_8xb256_in1k': (81.6,),
            'rest_large_8xb256_in1k': (83.6,),
            'restv2_tiny_8xb256_in1k': (82.3,),
            'restv2_small_8xb256_in1k': (83.2,),
            'restv2_base_8xb256_in1k': (83.7,),
            'restv2_large_8xb256_in1k': (84.2,),
            'restv2_tiny_384_in1k': (83.7,),
            'restv2_small_384_in1k': (84.5,),
            'restv2_base_384_in1k': (85.1,),
            'restv2_large_384_in1k': (85.4,),
            # Tables 5 to 9
            'rest_lite_8xb256-ablation_in1k': (72.88,),
            'rest_lite_stem-resnet_8xb256-ablation_in1k': (72.24,),
            'rest_lite_stem-pvt_8xb256-ablation_in1k': (71.96,),
            'rest_lite_reduction-avgpool_8xb256-ablation_in1k': (72.64,),
            'rest_lite_reduction-maxpool_8xb256-ablation_in1k': (72.20,),
            'rest_lite_wo-in_8xb256-ablation_in1k': (71.98,),
            'rest_lite_wo-conv-in_8xb256-ablation_in1k': (71.72,),
            'rest_lite_msa_8xb64-ablation_in1k': (72.68,),
            'rest_lite_position-none_8xb256-ablation_in1k': (71.54,),
            'rest_lite_position-le_8xb256-ablation_in1k': (71.98,),
            'rest_lite_position-gl_8xb256-ablation_in1k': (72.04,),
        },
    ),
}


def printed_figures(name: str) -> dict[str, float]:
    """Return the printed figures of a config by its name without ``.py``; an empty dict where there are none.

    A config that tests the authors' weights ('_3rdparty') has the figures of the recipe that trained them. For
    classifiers these are the figures at the image size of the test.
    """
    name = name.removesuffix('_3rdparty')
    return FIGURES.get(name) or FIGURES.get(name.replace('_224_', '_8xb256_'), {})
