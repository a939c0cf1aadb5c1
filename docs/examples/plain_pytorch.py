"""Semantic segmentation with ResT in plain PyTorch: no OpenMMLab heads, runner or config.

    python plain_pytorch.py                     # trains for some minutes on a CPU
    python plain_pytorch.py --num-steps 2       # a quick look

Replace `batch` by your own loader. The classes here are the background and the drawn shapes.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

from mmrest import ResT
from mmrest.datasets import CLASSES, draw_image


class Segmentor(nn.Module):
    """All four maps, brought to one number of channels and to stride 4, added up."""

    def __init__(self, num_classes, **backbone):
        super().__init__()
        self.backbone = ResT(**backbone)  # init_cfg=dict(type='Pretrained', checkpoint='rest_lite.pth')
        self.backbone.init_weights()  # loads what init_cfg names; without init_cfg it does nothing
        self.lateral = nn.ModuleList(nn.Conv2d(channels, 64, 1) for channels in self.backbone.out_channels)
        self.head = nn.Sequential(nn.GroupNorm(8, 64), nn.ReLU(), nn.Conv2d(64, num_classes, 3, padding=1))

    def forward(self, images):
        """(B, 3, H, W) -> logits (B, num_classes, H, W)."""
        maps = [conv(x) for conv, x in zip(self.lateral, self.backbone(images))]
        maps = [F.interpolate(x, size=maps[0].shape[-2:], mode='bilinear') for x in maps]
        return F.interpolate(self.head(sum(maps)), size=images.shape[-2:], mode='bilinear')


def batch(first, count, shape, split='train'):
    """Images (B, 3, H, W) about zero, labels (B, H, W), of a shape (H, W)."""
    drawn = [draw_image(shape, index=index, split=split) for index in range(first, first + count)]
    images = torch.stack([torch.from_numpy(one.image).permute(2, 0, 1) for one in drawn])
    labels = torch.stack([torch.from_numpy(one.label_map) for one in drawn])
    return (images.float() - 127.5) / 64, labels.long()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--arch', default='lite')
    parser.add_argument('--num-steps', type=int, default=400)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--shape', type=int, nargs=2, default=(96, 96), metavar=('H', 'W'), help='at least 32 each')
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Segmentor(1 + len(CLASSES), arch=args.arch, drop_path_rate=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=args.num_steps)
    weight = torch.tensor([0.1] + [1.0] * len(CLASSES))  # most pixels are background

    model.train()
    for step in range(args.num_steps):
        images, labels = batch(step * args.batch_size, args.batch_size, args.shape)
        loss = F.cross_entropy(model(images), labels, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == args.num_steps - 1:
            print(f'step {step}: loss {loss.item():.3f}', flush=True)

    model.eval()
    images, labels = batch(0, 16, args.shape, split='val')
    with torch.no_grad():
        found = model(images).argmax(dim=1)
    print(f'{(found == labels).float().mean():.1%} of the pixels of 16 new images are right')
    torch.save(model.state_dict(), 'plain_pytorch.pth')


if __name__ == '__main__':
    main()
