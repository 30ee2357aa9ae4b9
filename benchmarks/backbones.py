"""What references bring to each backbone: the same people, steps and RefSel; small networks, three arms and bare.

    python benchmarks/backbones.py PORTRAITS --weights WEIGHTS                  # goes on where it was stopped
    python benchmarks/backbones.py PORTRAITS --weights WEIGHTS --write docs     # table into docs/experiments.md

PORTRAITS holds `identities/<person>/<photo>` and `splits/portraits_train.txt`, `portraits_test.txt`; WEIGHTS the files
that are named if they are not there. Landmarks of the portraits are made if there are none. Besides the portraits
there are synthetic people. Every backbone is trained without references first; from there once more without, and once
with references, equally long. Then the arms right, none and wrong are tested, and the bare backbone. Intervals are of
95 %, paired by photo, people resampled. Identity in tests is another network's than the person check's. Two cores take
some two and a half hours.
"""

import argparse
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from overhead import seconds
from tables import ARMS, TITLES, difference, mean, table
from trainings import REPO, STRICT, Case, Networks, slug, synthetic_and_portraits, write_between

from refstar.trainer.option_file import load_options
from refstar.utils.archs import build_network

BEGIN, END = '<!-- backbones: written by benchmarks/backbones.py -->', '<!-- /backbones -->'
GFPGAN = {'type': 'GFPGANv1Clean', 'num_style_feat': 128, 'channel_multiplier': 1, 'narrow': 0.25, 'num_mlp': 4}
GFPGAN |= {'fix_decoder': False, 'input_is_latent': True, 'different_w': True, 'sft_half': True}
RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 32, 'num_block': 3, 'num_grow_ch': 16}
VQ = {'type': 'RestoreFormer', 'n_embed': 256, 'embed_dim': 64, 'ch': 32, 'num_res_blocks': 1, 'z_channels': 64}
VQ |= {'attn_resolutions': [16], 'head_size': 4}
SWIN = {'type': 'SwinIR', 'window_size': 8, 'depths': [2, 2], 'num_heads': [4, 4], 'embed_dim': 48, 'mlp_ratio': 2}
SWIN |= {'upscale': 4, 'upsampler': 'pixelshuffle'}
CODEFORMER = load_options(REPO / 'options/train/codeformer_stage2_64.yml')  # with the VQGAN of its stage I
BACKBONES = {  # name -> network but for its size, learning rate
    'GFPGANv1Clean': (GFPGAN, 1e-3),
    'GFPGANBilinear': ({**GFPGAN, 'type': 'GFPGANBilinear', 'lr_mlp': 0.01}, 1e-3),
    'CodeFormer': (dict(CODEFORMER['network_g']['backbone']), 5e-4),
    'RestoreFormer': (VQ, 5e-4),
    'RRDBNet x1': ({**RRDB, 'scale': 1}, 2e-3),
    'RRDBNet x4': ({**RRDB, 'scale': 4}, 2e-3),
    'SwinIR x4': (SWIN, 5e-4),
}
ARGUMENTS = {'GFPGANv1Clean': {'randomize_noise': False}, 'GFPGANBilinear': {'randomize_noise': False}}
ARGUMENTS['CodeFormer'] = {'w': 1}
METRICS = ('psnr', 'lpips', 'detail', 'id_gt')


def vqgan(size: int) -> dict:
    """Options of a VQGAN that leaves 16 x 16 codes of photos of this side."""
    levels = size.bit_length() - 4
    return {'img_size': size, 'ch_mult': [1, 2, 2, 4][:levels]}


def backbone(name: str, size: int) -> dict:
    """Options of a backbone whose output has this side."""
    block, _ = BACKBONES[name]
    sizes = {
        'GFPGANv1Clean': {'out_size': size},
        'GFPGANBilinear': {'out_size': size},
        'SwinIR': {'img_size': size // 4},
    }
    sizes['RestoreFormer'] = {'resolution': size, 'ch_mult': vqgan(size)['ch_mult']}
    sizes['CodeFormer'] = {**vqgan(size), 'connect_list': [str(size >> i) for i in range(size.bit_length() - 5)]}
    return {**block, **sizes.get(block['type'], {})}


class Comparison(Case):
    """One backbone with and without references, on one kind of people."""

    def network(self, name: str) -> dict:
        """Options of RefSTAR around a backbone."""
        refsel = {'size': self.size, 'channels': 48, 'person': Networks.block(self.kind.networks.train)}
        sizes = {'size': self.size, 'structure_size': 16, 'ref_channels': 32}
        return {'type': 'RefSTAR', **sizes, 'refsel': refsel, 'backbone': backbone(name, self.size)}

    def experiment(self, name: str, part: str) -> str:
        return f'{self.label}_{slug(name)}_{part}'

    def options(self, name: str, part: str, refsel: str) -> dict:
        """Options of the training of a part: 'backbone' (begins), 'bare' (goes on without references) or 'right'."""
        block, rate = BACKBONES[name]
        changes = {'network_g': self.network(name), 'scale': block.get('scale') or block.get('upscale') or 1}
        changes |= {'train.optim_g.lr': rate, 'train.backbone_kwargs': ARGUMENTS.get(name)}
        if name.startswith('GFPGAN'):  # its forward takes no other memory format
            changes['train.channels_last'] = False
        if name == 'CodeFormer':  # stages II and III at once: codes are predicted, and the photo is let in
            file = self.checkpoint(self.experiment(name, 'vqgan'))
            changes['network_vqgan'] = {**CODEFORMER['network_vqgan'], **vqgan(self.size)}
            changes['train.code_opt'] = CODEFORMER['train']['code_opt']
            changes |= {f'path.pretrain_network_{part}': file for part in ('vqgan', 'backbone')}
            changes |= {f'path.{key}': CODEFORMER['path'][key] for key in ('param_key_vqgan', 'strict_load_backbone')}
            changes['path.ignore_resume_networks'] = ['network_vqgan']
        changes |= {'path.pretrain_network_refsel': refsel, 'train.freeze': ['refsel']}
        if part != 'right':  # RefSTAR without a reference is its backbone
            changes |= {f'datasets.train.{key}': 0.0 for key in ('wrong_ref_prob', 'self_pair_prob')}
            changes |= {'datasets.train.ref_drop_prob': 1.0, 'train.freeze': ['refsel', 'ref_encoder', 'transfer']}
        if self.kind.train['type'] == 'SyntheticFaceDataset':
            changes.pop('datasets.train.self_pair_prob', None)
        if part != 'backbone':
            changes['path.pretrain_network_g'] = self.checkpoint(self.experiment(name, 'backbone'))
            changes['path.param_key_g'] = 'params_ema'
        changes['train.total_iter'] = self.iterations['backbone' if part == 'backbone' else 'refstar']
        return self.training('refstar', self.experiment(name, part), changes)

    def tested(self, name: str, part: str) -> dict:
        """Options of the test of the bare backbone, or of all arms."""
        network = self.network(name)
        network['refsel']['person']['strictness'] = STRICT
        path = {'pretrain_network_g': self.checkpoint(self.experiment(name, part)), 'param_key_g': 'params_ema'}
        val = {'arms': ['none'] if part == 'bare' else list(ARMS), 'backbone_kwargs': ARGUMENTS.get(name)}
        opt = self.test(self.experiment(name, part), network, path, 'test', val)
        return opt | {'scale': self.options(name, part, '')['scale']}

    def stage1(self) -> str:
        """Train the VQGAN of CodeFormer; return the text of its options."""
        changes = {f'network_g.{key}': value for key, value in vqgan(self.size).items()}
        changes |= dict.fromkeys(('train.net_d_start', 'train.revive_until'), self.iterations['vqgan'] * 2 // 3)
        return self.call('train', self.training('vqgan', self.experiment('CodeFormer', 'vqgan'), changes))

    def run(self, name: str, refsel: tuple[str, str]) -> None:
        """Train and test one backbone; `refsel` as of the method."""
        made = refsel[1] + (self.stage1() if name == 'CodeFormer' else '')
        begun = self.call('train', self.options(name, 'backbone', refsel[0]), made)
        for part in ('bare', 'right'):
            made = self.call('train', self.options(name, part, refsel[0]), begun)
            self.call('test', self.tested(name, part), made)

    def rows(self, name: str) -> dict[str, dict[str, dict]]:
        """Test set -> arm, or 'bare' -> photo -> metric -> value."""
        found = self.photos(f'{self.experiment(name, "right")}_test')
        bare = self.photos(f'{self.experiment(name, "bare")}_test')
        return {dataset: {**arms, 'bare': bare[dataset]['none']} for dataset, arms in found.items()}

    def cost(self, name: str, rounds: int = 11) -> dict[str, float]:
        """Parameters of the backbone and what references add, in millions; time added by one reference, a share."""
        torch.manual_seed(0)
        net = build_network(self.network(name)).eval()
        photo, ref = torch.rand(1, 3, net.lq_size, net.lq_size), torch.rand(1, 1, 3, net.size, net.size)
        kwargs, times = ARGUMENTS.get(name, {}), {'bare': [], 'with': []}
        with torch.inference_mode():
            for _ in range(rounds):
                times['bare'].append(seconds(lambda: net(photo, **kwargs), torch.device('cpu')))
                times['with'].append(seconds(lambda: net(photo, ref, **kwargs), torch.device('cpu')))
        count = {part: sum(p.numel() for p in module.parameters()) / 1e6 for part, module in net.named_children()}
        bare, more = (statistics.median(times[key]) for key in ('bare', 'with'))
        added = sum(count.values()) - count['backbone']
        return {'backbone': count['backbone'], 'added': added, 'time': more / bare - 1}


def markdown(found: dict[str, dict[str, dict]], costs: dict[str, dict[str, float]]) -> str:
    """Return the tables for people: test set -> backbone -> arm -> photo -> metric -> value, and costs by backbone."""
    lines = []
    for dataset, backbones in found.items():
        first = next(iter(backbones.values()))['right']
        shown = [m for m in METRICS if all(m in row for row in first.values())]
        rows, gains = [], []
        for name, arms in backbones.items():
            rows.append([name, *(' / '.join(mean(arms[arm], m) for arm in (*ARMS, 'bare')) for m in shown)])
            gain = difference([arms['right']], [arms['bare']], ['detail', 'id_gt'])
            gains.append([name, *gain, *difference([arms['wrong']], [arms['none']], ['id_wrong'])])
        lines += [f'**{dataset}**, {len(first)} photos: right / none / wrong / bare backbone', '']
        lines += table(['', *(TITLES[m] for m in shown)], rows)
        lines += ['Right minus bare, and what a stranger adds (ID-wrong, wrong minus none):', '']
        lines += table(['', 'detail', 'ID-GT', 'ID-wrong'], gains)
    lines += ['Millions of parameters of the backbone, and added to it (most are RefSel and its person network);']
    lines += ['time added by one reference:', '']
    rows = [[n, f'{c["backbone"]:.2f}', f'{c["added"]:.2f}', f'{c["time"]:+.0%}'] for n, c in costs.items()]
    return '\n'.join(lines + table(['', 'backbone', 'added', 'time'], rows)).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('portraits', type=Path, help='folder with identities/ and splits/')
    parser.add_argument('--weights', type=Path, required=True, help='folder of the frozen networks')
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=list(BACKBONES), metavar='NAME')
    parser.add_argument(
        '--iterations',
        type=int,
        nargs=4,
        default=[500, 2400, 400, 300],
        metavar=('REFSEL', 'VQGAN', 'BACKBONE', 'LONGER'),
        help='of the trainings (default: 500 2400 400 300)',
    )
    parser.add_argument('--size', type=int, choices=(32, 64, 128), default=64, help='pixels (default: 64)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='trainings side by side, each on one core')
    parser.add_argument('--out', type=Path, default=Path('results/backbones'))
    parser.add_argument('--write', type=Path, metavar='DOCS', help='write the tables into DOCS/experiments.md')
    args = parser.parse_args()
    out = args.out.resolve()
    iterations = dict(zip(('refsel', 'vqgan', 'backbone', 'refstar'), args.iterations, strict=True))
    document = args.write / 'experiments.md' if args.write else None
    kinds = synthetic_and_portraits(args.portraits.resolve(), args.weights.resolve(), out, document)
    cases = [Comparison(kind, 0, out, iterations, args.size) for kind in kinds]
    costs = {name: cases[0].cost(name) for name in args.backbones}  # builds every network before anything is trained
    with ThreadPoolExecutor(args.jobs) as pool:
        refsels = list(pool.map(lambda case: case.refsel(True), cases))
        tasks = [(case, name, made) for name in args.backbones for case, made in zip(cases, refsels, strict=True)]
        list(pool.map(lambda task: task[0].run(*task[1:]), tasks))
    found: dict = {}
    for case in cases:
        for name in args.backbones:
            for dataset, rows in case.rows(name).items():
                found.setdefault(dataset, {})[name] = rows
    (out / 'table.json').write_text(json.dumps({'arms': found, 'costs': costs}))
    text = markdown(found, costs)
    (out / 'table.md').write_text(text, encoding='utf-8')
    print(text)
    if document:
        write_between(document, BEGIN, END, text)


if __name__ == '__main__':
    main()
