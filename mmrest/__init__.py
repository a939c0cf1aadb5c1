"""mmrest: ResT and ResTv2 backbones for OpenMMLab. Importing it registers them in mmengine's MODELS."""
from .backbones import ResT
from .checkpoints import allow_known_types
from .version import __version__

# Lets torch's own safe loading accept what checkpoints of mmengine and of the ResT authors hold
# beside tensors, so that files also load where another project's tool opens them.
allow_known_types()

__all__ = ['ResT', '__version__']
