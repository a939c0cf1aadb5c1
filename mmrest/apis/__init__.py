"""Models from configs and checkpoints, with the pipelines that prepare their images."""

from .images import find_images
from .models import BACKBONES, LoadedModel, build_backbone, build_model, image_channels, init_model

__all__ = ['BACKBONES', 'LoadedModel', 'build_backbone', 'build_model', 'find_images', 'image_channels', 'init_model']
