"""ResT and ResTv2 in timm's registry, for programs that build a backbone with `features_only=True`.

import timm
import timm_features  # registers rest_lite to rest_large, and restv2_tiny to restv2_large

model = timm.create_model('rest_small', features_only=True, out_indices=(1, 2, 3))
model.feature_info.channels()  # [128, 256, 512]
"""

from timm.models import FeatureInfo, register_model
from torch import nn

from mmrest import ResT, ResTv2


class Features(nn.Module):
    """Backbone with the interface of timm's `features_only=True`: a list of maps, and `feature_info`."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        stages = enumerate(backbone.embed_dims)
        info = [dict(num_chs=dims, reduction=4 * 2**i, module=f'backbone.stage{i + 1}') for i, dims in stages]
        self.feature_info = FeatureInfo(info, backbone.out_indices)

    def forward(self, images):
        """(B, C, H, W) -> list of maps, the largest first."""
        return list(self.backbone(images))


def register(backbone, arch):
    """Register an architecture, e.g. ResT's 'small' as rest_small."""
    name = f'{backbone.__name__.lower()}_{arch}'

    # timm passes the first four always; other arguments are those of the backbone.
    def create(
        pretrained=False,
        pretrained_cfg=None,
        pretrained_cfg_overlay=None,
        cache_dir=None,
        features_only=False,
        in_chans=3,
        out_indices=(0, 1, 2, 3),
        **kwargs,
    ):
        if not features_only:
            raise ValueError(f'{name} has no classifier: pass features_only=True.')
        if isinstance(out_indices, int):  # in timm, the number of the last maps
            out_indices = range(-out_indices, 0)
        model = backbone(arch, in_channels=in_chans, out_indices=out_indices, **kwargs)
        if pretrained:
            file = (pretrained_cfg_overlay or {}).get('file')
            if not file:
                raise ValueError(f"No weights to download: pass pretrained_cfg_overlay=dict(file='{name}.pth').")
            model.init_cfg = dict(type='Pretrained', checkpoint=file)
            model.init_weights()
        return Features(model)

    create.__name__ = name
    register_model(create)


for _backbone in (ResT, ResTv2):
    for _arch in _backbone.archs:
        register(_backbone, _arch)
