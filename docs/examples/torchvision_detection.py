"""torchvision's RetinaNet and Mask R-CNN on ResT, in plain PyTorch.

    python torchvision_detection.py                                     # trains for some minutes on a CPU
    python torchvision_detection.py --model retinanet --num-steps 2     # a quick look

Replace `sample` by your own data. The classes here are the background and the drawn shapes.
"""

import argparse
from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.ops import FeaturePyramidNetwork, masks_to_boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from mmrest import ResT
from mmrest.datasets import CLASSES, draw_image


class ResTWithFPN(nn.Module):
    """ResT and a feature pyramid network, as torchvision's detectors take a backbone."""

    def __init__(self, extra_blocks, out_channels=256, **backbone):
        super().__init__()
        self.body = ResT(**backbone)
        if self.body.init_cfg:  # e.g. dict(type='Pretrained', checkpoint='rest_small.pth')
            self.body.init_weights()
        self.fpn = FeaturePyramidNetwork(list(self.body.out_channels), out_channels, extra_blocks)
        self.out_channels = out_channels

    def forward(self, images):
        """(B, 3, H, W) -> dict of maps (B, out_channels, h, w), the largest first."""
        return self.fpn(OrderedDict((str(i), x) for i, x in enumerate(self.body(images))))


def retinanet(num_classes, backbone, **options):
    """RetinaNet on maps with strides 8, 16 and 32, and two more from convolutions."""
    return RetinaNet(ResTWithFPN(LastLevelP6P7(256, 256), out_indices=(1, 2, 3), **backbone), num_classes, **options)


def mask_rcnn(num_classes, backbone, **options):
    """Mask R-CNN on maps with strides 4, 8, 16 and 32, and one more from pooling."""
    return MaskRCNN(ResTWithFPN(LastLevelMaxPool(), **backbone), num_classes, **options)


def sample(index, shape, split='train'):
    """Image (3, H, W), RGB in [0, 1], and its target with N boxes (N, 4), labels (N,) and masks (N, H, W)."""
    drawn = draw_image(shape, index=index, split=split)
    instances = [instance for instance in drawn.instances if not instance.iscrowd]
    masks = torch.from_numpy(np.array([instance.mask for instance in instances], bool).reshape(-1, *shape))
    boxes = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])  # from the last pixel to the right and lower edge
    labels = torch.tensor([instance.category for instance in instances], dtype=torch.long)
    image = torch.from_numpy(drawn.image[..., ::-1].copy()).permute(2, 0, 1) / 255
    return image, dict(boxes=boxes, labels=labels, masks=masks.to(torch.uint8))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--model', choices=('mask_rcnn', 'retinanet'), default='mask_rcnn')
    parser.add_argument('--arch', default='lite')
    parser.add_argument('--num-steps', type=int, default=200)
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--shape', type=int, nargs=2, default=(128, 160), metavar=('H', 'W'), help='at least 32 each')
    args = parser.parse_args()
    torch.manual_seed(0)
    backbone = dict(arch=args.arch, drop_path_rate=0.1)
    # Small for a CPU: torchvision resizes images to a short side of 800, and samples 512 boxes of each.
    if args.model == 'mask_rcnn':
        model = mask_rcnn(1 + len(CLASSES), backbone, min_size=min(args.shape), box_batch_size_per_image=32)
    else:
        model = retinanet(1 + len(CLASSES), backbone, min_size=min(args.shape))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=0.05)

    model.train()
    for step in range(args.num_steps):
        first = step * args.batch_size
        images, targets = zip(*(sample(i, args.shape) for i in range(first, first + args.batch_size)))
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == args.num_steps - 1:
            print(f'step {step}: loss {loss.item():.3f}', flush=True)

    model.eval()
    image, target = sample(2, args.shape, split='val')
    with torch.no_grad():
        found = model([image])[0]
    print('drawn:', [CLASSES[i - 1] for i in target['labels']])
    for label, score, box in list(zip(found['labels'], found['scores'], found['boxes']))[:5]:
        print(f'found: {CLASSES[label - 1]} {score:.2f} at {[round(x) for x in box.tolist()]}')


if __name__ == '__main__':
    main()
