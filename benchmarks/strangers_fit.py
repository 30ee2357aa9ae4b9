"""Teach the identity network degraded photos, and calibrate who counts as a stranger.

    python benchmarks/strangers_fit.py PORTRAITS FACES [--cache experiments/strangers]

A copy of the network that ships learns to give of a degraded photo the embedding that the network gives of the clean
one; its first half is kept, and computed once. The less it is sure of a face, the shorter its embedding z. The logit of
"z and a clean unit embedding r show the same person" is a z.r - b |z|^2 + c. Taught are people of portraits_train and
two thirds of options/release/london_train.txt; a, b, c are fitted on others of these lists, where strangers weigh as
much as the people themselves. Quarter of an hour on a core.

The result is refstar_arch/pretrained/dlib_degraded.safetensors.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy.optimize import minimize
from torch import Tensor, nn
from tqdm import tqdm

from refstar.data.degradation import Degradation
from refstar.identity_arch import IdentityEncoder
from refstar.utils.image_files import decode_image, to_tensor
from refstar.utils.photo_files import images_in
from refstar.utils.released_weights import PRETRAINED
from refstar.utils.text_files import read_lines

SIZE, KEPT = 256, 7  # pixels of the photos; blocks that are kept as they are
PRESETS = ('ffhq_ref_severe', 'ffhq_ref_train', 'ffhq_ref_severe', 'ffhq_ref_moderate', 'ffhq_ref_severe')
PRESETS += ('ffhq_ref_train',)  # the versions of every photo
LONDON_TRAIN = Path(__file__).parents[1] / 'options/release/london_train.txt'
EPOCHS, BATCH, RATE, CLASS_WEIGHT = 3, 48, 3e-4, 0.1
Photos = list[tuple[str, Path]]  # person, file


def change(img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move, mirror, light and colour a photo, float32 (S, S, 3) RGB in [0, 1]: neither is the person."""
    turn, size, shift = rng.normal(0, 2), np.exp(rng.normal(0, 0.03)), rng.normal(0, 0.012, 2)
    matrix = cv2.getRotationMatrix2D((len(img) / 2, len(img) / 2), turn, size)
    matrix[:, 2] += shift * len(img)
    img = cv2.warpAffine(img, matrix, img.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    img = img[:, ::-1] if rng.random() < 0.5 else img
    across, down = rng.normal(0, 0.15, 2).astype(np.float32)
    axis = np.linspace(-1, 1, len(img), dtype=np.float32)
    light = 1 + across * axis[None, :, None] + down * axis[:, None, None]
    img = np.clip(img * light * np.exp(rng.normal(0, 0.06, 3)).astype(np.float32), 1e-4, 1)
    img = img ** np.float32(np.exp(rng.normal(0, 0.25)))
    grey = img.mean(2, keepdims=True)
    colour = 0 if rng.random() < 0.15 else rng.uniform(0.6, 1.2)
    return np.clip(grey + np.float32(colour) * (img - grey), 0, 1).astype(np.float32)


def photos_of(root: Path, people: list[str]) -> Photos:
    """List the photos of people."""
    return [(person, photo) for person in people for photo in images_in(root / 'identities' / person)]


class Taught(nn.Module):
    """Blocks after `KEPT`, and the last layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.blocks, self.head = net.blocks[KEPT:], net.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean((2, 3)))


@torch.inference_mode()
def features(encoder: IdentityEncoder, images: list[np.ndarray]) -> Tensor:
    """Compute what the kept blocks make of faces, uint8 (S, S, 3) RGB: (n, 64, 17, 17)."""
    x = encoder.prepare(torch.stack([to_tensor(np.ascontiguousarray(img)) for img in images]))
    return encoder.net.blocks[:KEPT](encoder.net.begin(x))


def survey(encoder: IdentityEncoder, photos: Photos, cache: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features of all versions of photos, (photos, versions, 64, 17, 17), and clean unit embeddings (n, 128)."""
    path, done = cache / f'{name}.npy', cache / f'{name}_clean.npy'
    if not done.is_file():
        shape = (len(photos), len(PRESETS), 64, 17, 17)
        found, clean = np.lib.format.open_memmap(path, 'w+', np.float16, shape), []
        for i, (_, photo) in enumerate(tqdm(photos, desc=name)):
            img = decode_image(photo, 'RGB')
            versions = []
            for number, preset in enumerate(PRESETS):
                rng = np.random.default_rng([i, number])
                versions.append(Degradation.from_option(preset, SIZE)(change(img / np.float32(255), rng), rng))
            found[i] = features(encoder, versions).numpy()
            x = to_tensor(img)[None]
            with torch.inference_mode():
                clean.append(F.normalize(encoder(x) + encoder(x.flip(-1)), dim=1)[0].numpy())
        found.flush()
        np.save(done, np.stack(clean))
    return np.load(path, mmap_mode='r'), np.load(done)


def teach(net: Taught, found: np.ndarray, clean: np.ndarray, people: np.ndarray) -> None:
    """Fit the taught blocks: embeddings as of the clean photo, and nearer to their own person than to all others."""
    count, versions = found.shape[:2]
    truth = torch.from_numpy(clean)
    names, number = np.unique(people, return_inverse=True)
    centres = F.normalize(torch.zeros(len(names), clean.shape[1]).index_add_(0, torch.from_numpy(number), truth), dim=1)
    net.requires_grad_(True)
    sharpness = nn.Parameter(torch.tensor(20.0))
    groups = [{'params': [*net.parameters()], 'lr': RATE}, {'params': [sharpness], 'lr': 50 * RATE, 'weight_decay': 0}]
    steps = EPOCHS * count * versions // BATCH
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, (k + 1) / 30) * (0.5 + 0.5 * np.cos(np.pi * k / steps))
    )
    order = np.concatenate([np.random.default_rng(i).permutation(count * versions) for i in range(EPOCHS)])
    for step in (bar := tqdm(range(steps), desc='teach')):
        rows = np.sort(order[step * BATCH : (step + 1) * BATCH])
        photo, version = rows // versions, rows % versions
        z = net(torch.from_numpy(found[photo, version].astype(np.float32)))
        distance = (z - truth[photo]).square().sum(1).mean()
        apart = F.cross_entropy(sharpness * (z @ centres.T), torch.from_numpy(number[photo]))
        (distance + CLASS_WEIGHT * apart).backward()
        optimizer.step()
        optimizer.zero_grad()
        rates.step()
        if step % 20 == 0:
            bar.set_postfix(distance=f'{distance.item():.3f}', apart=f'{apart.item():.3f}')


@torch.inference_mode()
def calibrate(net: Taught, found: np.ndarray, clean: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Fit (a, b, c) by maximum likelihood on people never taught; both classes weigh the same."""
    rows = [[], []]  # of strangers, of the same person: z.r, |z|^2
    for i in range(len(found)):
        z = net(torch.from_numpy(found[i].astype(np.float32))).numpy()
        for j in range(len(found)):
            if i != j:
                pairs = np.stack([z @ clean[j], (z * z).sum(1)], 1)
                rows[int(people[i] == people[j])].append(pairs)
    strangers, same = map(np.concatenate, rows)

    def loss(w: np.ndarray) -> float:
        logits = [sign * (x @ (w[0], -w[1]) + w[2]) for sign, x in ((-1, strangers), (1, same))]
        return sum(np.logaddexp(0, -logit).mean() for logit in logits)

    return minimize(loss, (20.0, 10.0, 0.0), method='Nelder-Mead', options={'maxiter': 2000}).x


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('portraits', type=Path)
    parser.add_argument('faces', type=Path)
    parser.add_argument('--cache', type=Path, default=Path('experiments/strangers'))
    args = parser.parse_args()
    torch.manual_seed(0)
    args.cache.mkdir(parents=True, exist_ok=True)
    portraits, london = read_lines(args.portraits / 'splits/portraits_train.txt'), read_lines(LONDON_TRAIN)
    several = [p for p in portraits if len(images_in(args.portraits / 'identities' / p)) > 1]
    unseen = {*several[::3], *london[::3]}
    photos = photos_of(args.portraits, portraits) + photos_of(args.faces, london)
    encoder = IdentityEncoder('dlib')
    net = Taught(encoder.net)
    parts = {}
    for name in ('taught', 'calibration'):
        own = [(person, photo) for person, photo in photos if (person in unseen) == (name == 'calibration')]
        parts[name] = *survey(encoder, own, args.cache, name), np.array([person for person, _ in own])
    teach(net, *parts['taught'])
    verdict = calibrate(net.eval(), *parts['calibration'])
    print('logit = {:.2f} z.r - {:.2f} |z|^2 + {:.2f}'.format(*verdict))
    state = {
        f'blocks.{KEPT + i}.{key}': x for i, block in enumerate(net.blocks) for key, x in block.state_dict().items()
    }
    state |= net.head.state_dict(prefix='head.')
    tensors = {key: x.half().contiguous() for key, x in state.items()}
    tensors['verdict'] = torch.tensor(verdict, dtype=torch.float32)
    save_file(tensors, PRETRAINED / 'dlib_degraded.safetensors')


if __name__ == '__main__':
    main()
