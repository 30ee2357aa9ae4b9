"""Trains a small face-recognition network (MobileFaceNet) on synthetic people, for losses, context and scores there.

    python benchmarks/synthetic_identity.py identity0.pth --seed 0
    python benchmarks/synthetic_identity.py identity1.pth --seed 1     # report with another one than was trained with

Cosine softmax over the people, photos of any degree of degradation left out. At the end it prints how well it tells
people that it never saw: the share of pairs (same person, strangers) that are in the right order (AUC).
Six to eight minutes on one CPU core.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

import refstar  # noqa: F401
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import draw_shot, take_photo
from refstar.identity_arch import imagenet_112
from refstar.mobilefacenet_arch import MobileFaceNet
from refstar.utils.checkpoint import save_atomically

STRANGERS = 900_000  # first person that no training here or in the demo sees


class Photos(Dataset):
    """Photos of synthetic people with the number of the person."""

    def __init__(self, first: int, people: int, photos: int, size: int, seed: int) -> None:
        self.first, self.people, self.photos, self.size, self.seed = first, people, photos, size, seed

    def __len__(self) -> int:
        return self.people * self.photos

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        number, who = divmod(index, self.people)
        shot = draw_shot(np.random.default_rng([self.seed, 2, self.first + who, number]))
        photo = take_photo(person(self.seed, self.first + who, self.size), shot, self.size)
        return torch.from_numpy(photo.planes * 2 - 1), who


def train(args: argparse.Namespace) -> MobileFaceNet:
    torch.manual_seed(args.seed)
    data = Photos(0, args.people, 64, args.size, seed=1)
    loader = DataLoader(data, args.batch, shuffle=True, num_workers=1, drop_last=True)
    net, centres = MobileFaceNet(), torch.nn.Parameter(torch.randn(args.people, 128))
    optimizer = torch.optim.AdamW([*net.parameters(), centres], 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=args.iterations)
    start = time.time()
    for step, (image, who) in zip(range(args.iterations), loader, strict=False):
        cosine = F.normalize(net(imagenet_112(image))) @ F.normalize(centres).T
        loss = F.cross_entropy(24 * (cosine - 0.2 * F.one_hot(who, args.people)), who)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f'{step + 1}/{args.iterations} loss {loss.item():.2f} {time.time() - start:.0f} s', flush=True)
    return net.eval()


@torch.no_grad()
def auc(net: MobileFaceNet, size: int) -> float:
    """On people never seen: chance that two photos of one person are nearer than photos of two."""
    data = Photos(STRANGERS, 50, 4, size, seed=3)
    faces = torch.stack([data[i][0] for i in range(len(data))])
    who = torch.tensor([i % 50 for i in range(len(data))])
    found = torch.cat([F.normalize(net(imagenet_112(x))) for x in faces.split(20)])
    cosine, same = found @ found.T, who[:, None] == who[None]
    pair = torch.ones_like(same).triu(1)
    near, far = cosine[pair & same], cosine[pair & ~same]
    return (near[:, None] > far[None]).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='file to write')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--people', type=int, default=300)
    parser.add_argument('--size', type=int, default=64, help='of the photos')
    parser.add_argument('--iterations', type=int, default=500)
    parser.add_argument('--batch', type=int, default=32)
    args = parser.parse_args()
    net = train(args)
    save_atomically(net.state_dict(), args.out)
    print(f'{args.out}: AUC on people never seen {auc(net, args.size):.3f}')


if __name__ == '__main__':
    main()
