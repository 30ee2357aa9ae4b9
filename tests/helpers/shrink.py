"""Makes a shipped option file small enough to run one step on a CPU in seconds, and gives it data to run on.

What stays as shipped: every type, every loss, every metric, every probability and switch. What becomes small is in
`NETWORKS`, `DATASET` and `TRAIN`. Files that are not shipped (photos, released weights) are replaced by tiny random
ones of the same form, and losses that download their weights are left out.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from helpers.networks import AUTOENCODER
from torchvision.models import squeezenet1_1

from refstar.backbones import TAPS
from refstar.mobilefacenet_arch import MobileFaceNet

SIZE = 32  # pixels
SAMPLES = 4  # photos of a test set

# Arguments of networks that make them large -> small values, by type.
NETWORKS = {
    'RefSTAR': {'size': SIZE, 'ref_channels': 8, 'structure_size': 8},
    'RefSel': {'size': SIZE, 'channels': 8},
    'GFPGANv1Clean': {'out_size': SIZE, 'num_style_feat': 32, 'channel_multiplier': 1, 'narrow': 0.0625, 'num_mlp': 2},
    'StyleGAN2DiscriminatorClean': {'out_size': SIZE, 'channel_multiplier': 1, 'narrow': 0.0625},
    'LightRestorer': {'channels': [8, 8], 'blocks': 1},
    'FlowRestorer': {'channels': [8, 16], 'blocks': 1},
    'RRDBNet': {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
    'SwinIR': {'img_size': 8, 'window_size': 8, 'embed_dim': 16, 'depths': [1], 'num_heads': [2], 'mlp_ratio': 2},
    'CodeFormer': {'dim_embd': 32, 'n_head': 2, 'n_layers': 2, 'connect_list': [str(SIZE)]},
    'VQAutoEncoder': {'img_size': SIZE, 'nf': 32, 'ch_mult': [1, 1], 'codebook_size': 16},
    'VQGANDiscriminator': {'ndf': 4, 'n_layers': 2},
    'DiffusersAutoencoder': {'name': 'VQModel', 'config': AUTOENCODER},
    'CompositeContext': {'dim': 16, 'channels': 8, 'grid': 2},
}
NETWORKS['CodeFormer'] |= NETWORKS['VQAutoEncoder']
DATASET = {'gt_size': SIZE, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
TRAIN = {'total_iter': 2, 'warmup_iter': -1}
DOWNLOADS = ('PerceptualLoss',)


def blocks(opt: Any) -> Iterator[dict]:
    """All mappings in an option file."""
    if isinstance(opt, dict):
        yield opt
    for value in opt.values() if isinstance(opt, dict) else opt if isinstance(opt, list) else ():
        yield from blocks(value)


def parts(opt: dict) -> Iterator[dict]:
    """The data sets of an option file, and what a mixed one is made of."""
    for dataset in opt['datasets'].values():
        yield from (dataset, dataset.get('shared', {}), *dataset.get('parts', []))


def replace_files(opt: dict, folder: Path) -> dict:
    """A copy whose photos, lists and weights exist: tiny ones under `folder`, made once."""
    opt, root = copy.deepcopy(opt), make_files(folder)
    for dataset in parts(opt):
        if 'dataroot' in dataset:
            dataset['dataroot'] = str(root / ('refsel' if dataset['type'] == 'RefSelDataset' else 'people'))
        for key, part in (('dataroot_gt', 'gt'), ('dataroot_lq', 'gt'), ('dataroot_ref', 'ref')):
            if dataset.get(key):
                dataset[key] = str(root / 'refsel' / part)
        for key in ('split_file', 'landmarks', 'reference_csv'):
            if dataset.get(key):
                dataset[key] = None
    for block in blocks(opt):
        if block.get('weights'):
            block['weights'] = str(root / ('mobilefacenet.pth' if 'network' in block else 'squeeze.pth'))
            block['network' if 'network' in block else 'net'] = 'mobilefacenet' if 'network' in block else 'squeeze'
    path = opt.get('path') or {}
    for key in path:
        if key == 'pretrain_network_base':
            path[key] = str(root / 'x4.pth')
        elif key.startswith('pretrain_') or key == 'resume_state':
            path[key] = None
    return opt


def shrink(opt: dict) -> dict:
    """A copy with the small values of the tables above; iterations 1 and 2 use every loss."""
    opt = copy.deepcopy(opt)
    for key, block in opt.items():
        if key.startswith('network_') and block:
            shrink_network(block)
    for dataset in parts(opt):
        dataset.update({key: value for key, value in DATASET.items() if key in dataset})
        if 'identities' in dataset:
            photos = max(SAMPLES // 2, dataset.get('num_refs', 1) + 1)
            dataset.update(identities=2 if dataset.get('first_identity') else 8, photos_per_identity=photos)
        elif 'max_images' in dataset or dataset.get('type') == 'ReferenceTestDataset':
            dataset['max_images'] = SAMPLES
    train = opt.get('train') or {}
    train.update({key: value for key, value in TRAIN.items() if key in train})
    if train.get('freeze'):  # a small network has fewer taps
        train['freeze'] = [name for name in train['freeze'] if name not in ('transfer.2', 'transfer.3')]
    for key in [k for k, v in train.items() if isinstance(v, dict) and v.get('type') in DOWNLOADS]:
        train[key] = None
    for key in ('cycle_every', 'net_d_reg_every'):
        if key in train:
            train[key] = 1
    for key in ('cycle_start', 'net_d_start', 'strength_warmup'):
        if key in train:
            train[key] = 0
    if 'periods' in (train.get('scheduler') or {}):
        train['scheduler'].update(periods=[TRAIN['total_iter']], restart_weights=[1])
    if opt.get('logger'):
        opt['logger'].update(print_freq=1, save_checkpoint_freq=1, use_tb_logger=False)
    return opt


def shrink_network(block: dict) -> None:
    """In place; nested networks (a backbone) too."""
    block.update(NETWORKS.get(block['type'], {}))
    if block['type'] == 'RefSTAR':
        block['refsel'] = {**(block.get('refsel') or {}), **NETWORKS['RefSel']}
        if block.get('context'):
            block['context'].update(NETWORKS['CompositeContext'])
        if block['backbone']['type'] in TAPS:  # a small network has other modules, but for the first ones
            block['taps'] = [tap for tap in block.get('taps') or [] if tap.startswith('encoder.')] or None
    for part in ('backbone', 'mean', 'latent'):
        if block.get(part):
            shrink_network(block[part])


def make_files(folder: Path) -> Path:
    """Photos by person, RefSel triplets, and random weights of the smallest frozen networks."""
    if (folder / 'squeeze.pth').exists():
        return folder
    rows = ['id,identity,provenance']
    for person in range(4):
        for photo in range(3):
            write_picture(folder / f'people/person{person}/{photo}.png', 10 * person + photo)
        for part in ('gt', 'ref'):
            write_picture(folder / f'refsel/{part}/{person}.png', 100 + person)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[8:24, 8:24] = 255
        (folder / 'refsel/mask').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'refsel/mask/{person}.png'), mask)
        rows.append(f'{person},person{person},accepted')
    (folder / 'refsel/meta.csv').write_text('\n'.join(rows))
    torch.manual_seed(0)
    torch.save(MobileFaceNet().state_dict(), folder / 'mobilefacenet.pth')
    torch.save(RRDBNet(3, 3, num_feat=8, num_block=1, num_grow_ch=4).state_dict(), folder / 'x4.pth')
    torch.save(squeezenet1_1(weights=None).state_dict(), folder / 'squeeze.pth')
    return folder


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (SIZE, SIZE)))
