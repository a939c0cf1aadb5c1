"""Semantic segmentation with ResT in plain PyTorch: no OpenMMLab heads, runner or config.

    python plain_pytorch.py                                 # trains for some minutes on a CPU
    python plain_pytorch.py --num-steps 2                   # a quick look
    torchrun --nproc-per-node 2 plain_pytorch.py            # two processes: one for each GPU, or on the CPU

Replace `batch` by your own loader. The classes here are the background and the drawn shapes.
"""

import argparse
import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmrest import ResT
from mmrest.datasets import CLASSES, draw_image


class Segmentor(nn.Module):
    """All four maps, brought to one number of channels and to stride 4, added up."""

    def __init__(self, num_classes, **backbone):
        super().__init__()
        self.backbone = ResT(**backbone)
        if self.backbone.init_cfg:  # e.g. dict(type='Pretrained', checkpoint='rest_lite.pth')
            self.backbone.init_weights()
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

    # torchrun sets these variables and starts this script once for each process.
    rank, local_rank, num_processes = (int(os.environ.get(name, 0)) for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'))
    device = torch.device('cuda', local_rank) if torch.cuda.is_available() else torch.device('cpu')
    torch.manual_seed(0)
    model = trained = Segmentor(1 + len(CLASSES), arch=args.arch, drop_path_rate=0.1).to(device)
    if num_processes:
        if device.type == 'cuda':
            torch.cuda.set_device(device)
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        dist.init_process_group()  # nccl for tensors on GPUs, gloo for those on CPUs
        trained = DistributedDataParallel(model)
        torch.manual_seed(rank)  # each process drops other paths
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=args.num_steps)
    weight = torch.tensor([0.1] + [1.0] * len(CLASSES), device=device)  # most pixels are background

    trained.train()
    for step in range(args.num_steps):
        first = (step * max(num_processes, 1) + rank) * args.batch_size  # images of its own for each process
        images, labels = batch(first, args.batch_size, args.shape)
        loss = F.cross_entropy(trained(images.to(device)), labels.to(device), weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if rank == 0 and (step % 20 == 0 or step == args.num_steps - 1):
            print(f'step {step}: loss {loss.item():.3f}', flush=True)

    if rank == 0:
        model.eval()
        images, labels = batch(0, 16, args.shape, split='val')
        with torch.no_grad():
            found = model(images.to(device)).argmax(dim=1).cpu()
        print(f'{(found == labels).float().mean():.1%} of the pixels of 16 new images are right')
        torch.save(model.state_dict(), 'plain_pytorch.pth')
    if num_processes:
        dist.destroy_process_group()


if __name__ == '__main__':
    main()
