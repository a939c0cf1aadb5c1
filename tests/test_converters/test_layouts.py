"""Recognition of the authors' layouts, for every architecture and from tensors without data."""

import pytest
from published_files import LAYOUTS, TARGETS, make

from mmrest.backbones.rest import ARCHS as REST
from mmrest.backbones.restv2 import ARCHS as RESTV2
from mmrest.converters.layouts import DETECTOR_LARGE, recognize

ARCHS = [
    *(('rest', name, arch) for name, arch in REST.items()),
    *(('restv2', name, arch) for name, arch in RESTV2.items()),
    ('restv2', 'large-detectron2', DETECTOR_LARGE),
]


@pytest.mark.parametrize(
    'version, name, arch, layout',
    [
        pytest.param(version, name, arch, layout, id=f'{version}_{name}-{layout}')
        for version, name, arch in ARCHS
        for layout in TARGETS
        if (version, layout) in LAYOUTS
    ],
)
def test_recognize_every_arch_in_every_layout(version, name, arch, layout):
    contents = recognize(make(layout, version, arch, device='meta'))
    assert (contents.layout, contents.version, contents.arch) == (layout, version, name)
    assert contents.settings == arch and contents.name == f'{version}_{name}'
    stages = {'classification': (4,) if version == 'rest' else (), 'detectron2-retinanet': (2, 3, 4)}
    assert contents.norms == stages.get(layout, (1, 2, 3, 4))
