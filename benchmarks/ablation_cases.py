"""The trainings and tests of benchmarks/ablation.py: their options, and their runs."""

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from ablation_report import BARE

from refstar.evaluation.demo_steps import set_option, shipped
from refstar.trainer.option_file import load_options

REPO = Path(__file__).resolve().parent.parent
FLOW = REPO / 'options/train/flow_64.yml'

# Part -> dotted keys of the training's options.
CYCLE = {'train.cycle_opt': {'type': 'CycleConsistencyLoss', 'loss_weight': 0.1}, 'train.cycle_every': 4}
IDENTITY = {'train.identity_opt': {'type': 'HardExampleIdentityLoss', 'loss_weight': 0.05, 'lambda_ref': 0.3}}
CONTEXT = {'network_g.context': {'dim': 64, 'channels': 32, 'identity': {}}}
VARIANTS = {
    'vanilla cross-attention': {'network_g.type': 'RefSTARVanilla'},
    'convex mix, no selection': {'network_g.type': 'RefSTARNoSelection'},
    '+ RefSel': {},
    '+ cycle consistency': CYCLE,
    '+ identity loss': CYCLE | IDENTITY,
    '+ composite context': CYCLE | IDENTITY | CONTEXT,
    '+ person check': CYCLE | IDENTITY | CONTEXT,  # with the RefSel that has one
}
FULL = list(VARIANTS)[-1]
STRICT = 1.5  # strictness of the person check in use, as in options/test/refstar_gfpgan_128.yml (chosen on lfw_val)
# Row of the full method in use -> val options and number of references; of one, `guidance` is `concat`.
IN_USE = {'the same, strict': ({}, 1)} | {
    f'{n} references, {combine}': ({'combine': combine}, n) for combine in ('concat', 'guidance') for n in (2, 4)
}
PERSON = {'train.person_opt': {'type': 'PersonLoss', 'loss_weight': 0.5, 'stranger_weight': 6}}


@dataclass(frozen=True)
class Networks:
    """Files of frozen networks: identity in training and in tests as (name, file), LPIPS-squeeze."""

    train: tuple[str, Path]
    test: tuple[str, Path]
    squeeze: Path | None

    @staticmethod
    def block(network: tuple[str, Path]) -> dict[str, str]:
        return {'network': network[0], 'weights': str(network[1])}


@dataclass(frozen=True)
class Case:
    """All variants on one kind of people with one seed."""

    kind: str
    seed: int
    out: Path
    networks: Networks
    iterations: dict[str, int]  # of 'refsel', 'backbone', and of 'refstar' or the bare backbone after it
    faces: Path | None = None
    landmarks: Path | None = None

    @property
    def label(self) -> str:
        return f'{self.kind}_s{self.seed}'

    # ------------------------------------------------------------- options
    def people(self, name: str) -> dict:
        """Options of a data set: 'train', or a test set."""
        train = name == 'train'
        if self.kind == 'synthetic':
            who = {'first_identity': 0, 'identities': 500, 'photos_per_identity': 80, 'seed': 1 + self.seed}
            if not train:
                who = {'first_identity': 900_000, 'identities': 40, 'photos_per_identity': 5, 'seed': 9}
            degradation = {'preset': 'ffhq_ref_severe', 'downsample_range': [24, 32]}
            return {'type': 'SyntheticFaceDataset', **who, 'degradation': degradation}
        who = {
            'type': 'ReferencePairDataset' if train else 'ReferenceTestDataset',
            'dataroot': str(self.faces / 'identities'),
            'split_file': str(self.faces / 'splits' / f'{"lfw_train" if train else name}.txt'),
            'landmarks': str(self.landmarks),
            'resize': True,
            'degradation': 'ffhq_ref_severe',
            'seed': 1 + self.seed,
        }
        more = {'cache': True, 'use_hflip': True, 'self_pair_prob': 0.25, 'warp_strength': 0.4, 'ref_jitter': 0.2}
        return who | more if train else who | {'max_images': 100}

    def training(self, step: str, experiment: str, changes: dict) -> dict:
        """The demo's options of 'refsel', 'backbone', 'refstar', or those of 'flow', for these people, with changes."""
        opt = json.loads(json.dumps(load_options(FLOW if step == 'flow' else shipped(step))))
        opt['datasets'].pop('val', None)
        opt.pop('val', None)
        old = opt['datasets']['train']
        loading = ('name', 'gt_size', 'num_refs', 'wrong_ref_prob', 'ref_drop_prob', 'use_shuffle')
        loading += ('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio', 'prefetch_mode')
        opt['datasets']['train'] = {**{key: old[key] for key in loading}, **self.people('train')}
        opt.update(name=experiment, manual_seed=self.seed)
        opt['train']['total_iter'] = self.iterations[step]
        for key in ('cycle_opt', 'cycle_every'):
            opt['train'].pop(key, None)
        for key, value in changes.items():
            set_option(opt, key, copy.deepcopy(value))
        opt['train']['scheduler']['periods'] = [opt['train']['total_iter']]
        block = Networks.block(self.networks.train)
        if opt['train'].get('identity_opt'):
            opt['train']['identity_opt'].update(block)
        if opt['network_g'].get('context'):
            opt['network_g']['context']['identity'] = block
        return opt

    def test(self, experiment: str, network: dict, path: dict, name: str, val: dict, num_refs: int = 1) -> dict:
        """Options of a test of a network on all test sets of these people."""
        sets = ['synthetic'] if self.kind == 'synthetic' else ['lfw_test', 'london_test']
        block, metrics = Networks.block(self.networks.test), {}
        for metric in ('psnr', 'ssim'):
            metrics[metric] = {'type': f'calculate_{metric}', 'crop_border': 0}
        metrics['detail'] = {'type': 'calculate_detail', 'down': 4}
        if self.networks.squeeze:
            metrics['lpips'] = {'type': 'calculate_lpips', 'net': 'squeeze', 'weights': str(self.networks.squeeze)}
        for metric in ('id_gt', 'id_ref', 'id_wrong'):
            metrics[metric] = {'type': f'calculate_{metric}', **block}
        data = {'gt_size': 64, 'num_refs': num_refs}
        return {
            'name': f'{experiment}_{name}',
            'model_type': 'RefSTARModel',
            'num_gpu': 'auto',
            'manual_seed': 0,
            'datasets': {f'test_{i}': {'name': s, **self.people(s), **data} for i, s in enumerate(sets)},
            'network_g': network,
            'path': {'strict_load_g': True, **path},
            'val': {'save_img': False, 'suffix': None, 'metrics': metrics, **val},
        }

    # ------------------------------------------------------------- steps
    def call(self, command: str, opt: dict, of: str = '') -> str:
        """`basicsr <command>` in the output folder, on one core; nothing if it was done before with these options.

        Args:
            of (str): what the result rests on besides the options: text of the training that made the weights.

        Returns:
            str: text of these options and all that they rest on.
        """
        file = self.out / 'options' / f'{opt["name"]}.yml'
        done, text = file.with_suffix('.done'), yaml.safe_dump(opt, sort_keys=False)
        whole = f'{text}\n# after:\n{of}'
        if done.is_file() and done.read_text() == whole:
            return whole
        begun = file.with_suffix('.begun')
        if not begun.is_file() or begun.read_text() != whole:  # another network: nothing of it may be gone on with
            shutil.rmtree(self.out / 'experiments' / opt['name'], ignore_errors=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding='utf-8')
        begun.write_text(whole)
        print(opt['name'], command, flush=True)
        argv = [sys.executable, '-m', f'refstar.tools.{command}', '--import', 'ablation_networks', '-opt', str(file)]
        argv += ['--auto_resume'] if command == 'train' else []
        path = os.pathsep.join(filter(None, [str(REPO / 'benchmarks'), os.environ.get('PYTHONPATH')]))
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONPATH': path}
        with open(self.out / f'{opt["name"]}.log', 'w', encoding='utf-8') as log:
            ended = subprocess.run(argv, cwd=self.out, stdout=log, stderr=subprocess.STDOUT, env=env, check=False)
        if ended.returncode:
            sys.exit(f'{opt["name"]} failed; see {self.out}/{opt["name"]}.log')
        done.write_text(whole)
        return whole

    def checkpoint(self, experiment: str) -> str:
        return f'experiments/{experiment}/models/net_g_latest.pth'

    def refsels(self) -> dict[str, tuple[str, str]]:
        """Trains RefSel with and without the person check: suffix -> (checkpoint, text of its options)."""
        wanted, found = {'': {}, '_person': {'network_g.person': Networks.block(self.networks.train), **PERSON}}, {}
        for suffix, changes in wanted.items():
            name = f'{self.label}_refsel{suffix}'
            found[suffix] = self.checkpoint(name), self.call('train', self.training('refsel', name, changes))
        return found

    def run(self, refsels: dict[str, tuple[str, str]]) -> None:
        """The bare backbone, every variant, several references; `refsels` as of the method."""
        name, block = self.label, Networks.block(self.networks.train)
        backbone = self.call('train', self.training('backbone', f'{name}_backbone', {}))
        begin = self.checkpoint(f'{name}_backbone')
        longer = {'train.total_iter': self.iterations['refstar'], 'path.pretrain_network_g': begin}
        made = self.call('train', self.training('backbone', f'{name}_bare', longer), backbone)
        path = {'pretrain_network_g': None, 'pretrain_network_backbone': self.checkpoint(f'{name}_bare')}
        network = load_options(shipped('refstar'))['network_g']
        self.call('test', self.test(f'{name}_bare', network, path, 'test', {'arms': ['none']}), made)
        for number, (variant, changes) in enumerate(VARIANTS.items()):
            experiment, suffix = f'{name}_{number}', '_person' if variant == FULL else ''
            refsel, of = refsels[suffix]
            changes = {**changes, 'path.pretrain_network_refsel': refsel, 'path.pretrain_network_backbone': begin}
            if suffix:
                changes['network_g.refsel.person'] = block
            opt = self.training('refstar', experiment, changes)
            made = self.call('train', opt, backbone + of)
            path = {'pretrain_network_g': self.checkpoint(experiment), 'param_key_g': 'params_ema'}
            self.call('test', self.test(experiment, opt['network_g'], path, 'test', {}), made)
        strict = copy.deepcopy(opt['network_g'])
        set_option(strict, 'refsel.person.strictness', STRICT)
        for row, (val, n) in IN_USE.items():
            self.call('test', self.test(experiment, strict, path, suffix_of(row), val, n), made)

    def results(self) -> dict[str, dict[str, dict]]:
        """Row of the table -> test set -> arm -> metric -> value."""
        last = len(VARIANTS) - 1
        rows = {BARE: f'{self.label}_bare_test'} | {v: f'{self.label}_{i}_test' for i, v in enumerate(VARIANTS)}
        rows |= {row: f'{self.label}_{last}_{suffix_of(row)}' for row in IN_USE}
        return {row: self.figures(test) for row, test in rows.items()}

    def figures(self, test: str) -> dict[str, dict]:
        """Test set -> arm -> metric -> value."""
        files = sorted((self.out / 'results' / test).glob('metrics_*.json'))
        return {(found := json.loads(file.read_text()))['dataset']: found['arms'] for file in files}


def suffix_of(row: str) -> str:
    """A row's name as the end of an experiment's name."""
    return row.replace(', ', '_').replace(' ', '_')
