"""Trainings and tests that benchmarks compare: people, options, and runs that go on where they stopped."""

import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml
from checks import check_needs

from refstar.evaluation.demo_steps import set_option, shipped
from refstar.trainer.option_file import load_options

REPO = Path(__file__).resolve().parent.parent
RECIPES = {'vqgan': 'codeformer_stage1_64.yml', 'flow': 'flow_64.yml'}  # of options/train; the others are the demo's
PERSON = {'train.person_opt': {'type': 'PersonLoss', 'loss_weight': 0.5, 'stranger_weight': 6}}
STRICT = 1.5  # strictness of the person check in use, as in options/test/refstar_gfpgan_128.yml (chosen on lfw_val)


@dataclass(frozen=True)
class Networks:
    """Files of frozen networks: identity in training and in tests as (name, file), LPIPS-squeeze."""

    train: tuple[str, Path]
    test: tuple[str, Path]
    squeeze: Path | None

    @staticmethod
    def block(network: tuple[str, Path]) -> dict[str, str]:
        return {'network': network[0], 'weights': str(network[1])}

    @classmethod
    def in_folder(cls, folder: Path) -> 'Networks':
        """Return those of real faces: identity is reported by another network than the one in the losses."""
        files = {'mobilefacenet': 'mobilefacenet_ms1m_128.pt', 'edgeface_xxs': 'edgeface_xxs_q.pt'}
        used = [(name, folder / file) for name, file in files.items()]
        return cls(*used, folder / 'squeezenet1_1_features.pth')


@dataclass(frozen=True)
class Kind:
    """A kind of people: options of its training set and of its test sets, by name."""

    name: str
    train: dict
    tests: dict[str, dict]
    networks: Networks

    @classmethod
    def synthetic(cls, networks: Networks) -> 'Kind':
        """Return synthetic people, whose degradation leaves next to nothing of them."""
        who = {'type': 'SyntheticFaceDataset'}
        who['degradation'] = {'preset': 'ffhq_ref_severe', 'downsample_range': [24, 32]}
        train = {**who, 'first_identity': 0, 'identities': 500, 'photos_per_identity': 80}
        test = {**who, 'first_identity': 900_000, 'identities': 40, 'photos_per_identity': 5, 'seed': 9}
        return cls('synthetic', train, {'synthetic': test}, networks)

    @classmethod
    def real(cls, name: str, root: Path, train: str, tests: list[str], landmarks: Path, networks: Networks) -> 'Kind':
        """Return people of `root/identities`, by lists of `root/splits`."""

        def people(split: str) -> dict:
            file = root / 'splits' / f'{split}.txt'
            who = {'dataroot': str(root / 'identities'), 'split_file': str(file), 'landmarks': str(landmarks)}
            return {**who, 'resize': True, 'degradation': 'ffhq_ref_severe'}

        more = {'cache': True, 'use_hflip': True, 'self_pair_prob': 0.25, 'warp_strength': 0.4, 'ref_jitter': 0.2}
        seen = {'type': 'ReferencePairDataset', **people(train), **more}
        unseen = {test: {'type': 'ReferenceTestDataset', **people(test), 'max_images': 100} for test in tests}
        return cls(name, seen, unseen, networks)

    @classmethod
    def lfw(cls, faces: Path, landmarks: Path) -> 'Kind':
        """Return people of a folder as for benchmarks/real_faces.py, tested on LFW and London."""
        networks = Networks.in_folder(faces / 'weights')
        return cls.real('real', faces, 'lfw_train', ['lfw_test', 'london_test'], landmarks, networks)

    def needs(self) -> tuple[list[dict], list[Path]]:
        """Return options and files that must be there, for `check_needs`."""
        networks = self.networks
        blocks = [self.train, *self.tests.values(), *map(Networks.block, (networks.train, networks.test))]
        return blocks, [networks.squeeze] if networks.squeeze else []


@dataclass(frozen=True)
class Case:
    """Trainings and tests on one kind of people with one seed, in a folder."""

    kind: Kind
    seed: int
    out: Path
    iterations: dict[str, int]  # of 'refsel', 'backbone', and of 'refstar' or the bare backbone after it
    size: int = 64  # pixels

    modules: ClassVar[tuple[str, ...]] = ()  # of this folder, that register what the options name

    @property
    def label(self) -> str:
        return f'{self.kind.name}_s{self.seed}'

    # ------------------------------------------------------------- options
    def training(self, step: str, experiment: str, changes: dict) -> dict:
        """The options of 'refsel', 'backbone', 'refstar' (the demo's) or one of RECIPES, with changes."""
        file = REPO / 'options/train' / RECIPES[step] if step in RECIPES else shipped(step)
        opt = json.loads(json.dumps(load_options(file)))
        old = opt['datasets']['train']
        loading = ('name', 'num_refs', 'wrong_ref_prob', 'ref_drop_prob', 'use_shuffle')
        loading += ('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio', 'prefetch_mode')
        given = {**self.kind.train, 'seed': 1 + self.seed, 'gt_size': self.size}
        opt['datasets']['train'] = {**{key: old[key] for key in loading}, **given}
        opt.update(name=experiment, manual_seed=self.seed)
        opt['train']['total_iter'] = self.iterations[step]
        for key in ('cycle_opt', 'cycle_every'):
            opt['train'].pop(key, None)
        for key, value in changes.items():
            set_option(opt, key, copy.deepcopy(value))
        opt['train']['scheduler']['periods'] = [opt['train']['total_iter']]
        block = Networks.block(self.kind.networks.train)
        if opt['train'].get('identity_opt'):
            opt['train']['identity_opt'].update(block)
        if opt['network_g'].get('context'):
            opt['network_g']['context']['identity'] = block
        return opt

    def test(self, experiment: str, network: dict, path: dict, name: str, val: dict, num_refs: int = 1) -> dict:
        """Options of a test of a network on all test sets of these people."""
        networks, metrics = self.kind.networks, {}
        for metric in ('psnr', 'ssim'):
            metrics[metric] = {'type': f'calculate_{metric}', 'crop_border': 0}
        metrics['detail'] = {'type': 'calculate_detail', 'down': 4}
        if networks.squeeze:
            metrics['lpips'] = {'type': 'calculate_lpips', 'net': 'squeeze', 'weights': str(networks.squeeze)}
        for metric in ('id_gt', 'id_ref', 'id_wrong'):
            metrics[metric] = {'type': f'calculate_{metric}', **Networks.block(networks.test)}
        data = {'gt_size': self.size, 'num_refs': num_refs}
        sets = {name: {'name': name, 'seed': 1 + self.seed, **who, **data} for name, who in self.kind.tests.items()}
        return {
            'name': f'{experiment}_{name}',
            'model_type': 'RefSTARModel',
            'num_gpu': 'auto',
            'manual_seed': 0,
            'datasets': {f'test_{i}': block for i, block in enumerate(sets.values())},
            'network_g': network,
            'path': {'strict_load_g': True, **path},
            'val': {'save_img': False, 'suffix': None, 'metrics': metrics, **val},
        }

    # ------------------------------------------------------------- steps
    def call(self, command: str, opt: dict, of: str = '') -> str:
        """As `run_once`, in the folder of this case."""
        return run_once(self.out, command, opt, of, self.modules)

    def checkpoint(self, experiment: str) -> str:
        return f'experiments/{experiment}/models/net_g_latest.pth'

    def refsel(self, person: bool) -> tuple[str, str]:
        """Trains RefSel, with a person check if asked for: its checkpoint, and the text of its options."""
        block = Networks.block(self.kind.networks.train)
        changes = {'network_g.size': self.size, **({'network_g.person': block, **PERSON} if person else {})}
        name = f'{self.label}_refsel{"_person" * person}'
        return self.checkpoint(name), self.call('train', self.training('refsel', name, changes))

    # ------------------------------------------------------------- figures
    def figures(self, test: str) -> dict[str, dict]:
        """Test set -> arm -> metric -> value."""
        files = sorted((self.out / 'results' / test).glob('metrics_*.json'))
        return {(found := json.loads(file.read_text()))['dataset']: found['arms'] for file in files}

    def photos(self, test: str) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Test set -> arm -> photo -> metric -> value."""
        found: dict = {}
        for file in sorted((self.out / 'results' / test).glob('metrics_*.csv')):
            arms = found.setdefault(file.stem.removeprefix('metrics_'), {})
            with open(file, newline='', encoding='utf-8') as stream:
                for row in csv.DictReader(stream):
                    arm, image = row.pop('arm'), row.pop('image')
                    arms.setdefault(arm, {})[image] = {metric: float(value) for metric, value in row.items()}
        return found


def slug(name: str) -> str:
    """Return a name as part of the name of a folder."""
    return re.sub(r'\W+', '_', name).strip('_')


def run_once(out: Path, command: str, opt: dict, of: str = '', modules: tuple[str, ...] = ()) -> str:
    """`basicsr <command>` in an output folder, on one core; nothing if it was done before with these options.

    Args:
        of (str): what the result rests on besides the options: text of the training that made the weights.
        modules: of this folder, that register what the options name.

    Returns:
        str: text of these options and all that they rest on.
    """
    file = out / 'options' / f'{opt["name"]}.yml'
    done, text = file.with_suffix('.done'), yaml.safe_dump(opt, sort_keys=False)
    whole = f'{text}\n# after:\n{of}'
    if done.is_file() and done.read_text() == whole:
        return whole
    begun = file.with_suffix('.begun')
    if not begun.is_file() or begun.read_text() != whole:  # another network: nothing of it may be gone on with
        shutil.rmtree(out / 'experiments' / opt['name'], ignore_errors=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding='utf-8')
    begun.write_text(whole)
    print(opt['name'], command, flush=True)
    flags = [flag for module in modules for flag in ('--import', module)]
    flags += ['-opt', str(file), *(['--auto_resume'] if command == 'train' else [])]
    if run_program(command, flags, out, f'{opt["name"]}.log'):
        sys.exit(f'{opt["name"]} failed; see {out}/{opt["name"]}.log')
    done.write_text(whole)
    return whole


def run_program(command: str, flags: list[str], folder: Path, log: str) -> int:
    """Run `basicsr <command>` in a folder on one core, with a log in it; return its exit code."""
    argv = [sys.executable, '-m', f'refstar.tools.{command}', *flags]
    path = os.pathsep.join(filter(None, [str(REPO / 'benchmarks'), os.environ.get('PYTHONPATH')]))
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONPATH': path}
    with open(folder / log, 'w', encoding='utf-8') as stream:
        ended = subprocess.run(argv, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, env=env, check=False)
    return ended.returncode


def synthetic_networks(out: Path, squeeze: Path | None) -> Networks:
    """Trains the two identity networks of synthetic people unless they are there."""
    files = [out / f'identity{seed}.pth' for seed in (0, 1)]
    for seed, file in enumerate(files):
        if not file.is_file():
            print(f'{file.name}', flush=True)
            script = REPO / 'benchmarks/synthetic_identity.py'
            subprocess.run([sys.executable, script, file, '--seed', str(seed)], check=True)
    return Networks(('mobilefacenet', files[0]), ('mobilefacenet', files[1]), squeeze)


def synthetic_and_real(real: Kind | None, out: Path, files: list[Path]) -> list[Kind]:
    """Check that all files are there, make the networks of synthetic people; return these and, if given, real ones.

    The program ends by one line, with nothing written, if a file or package is missing.

    Args:
        out: folder of the results, made if it is not there.
        files: what must be there besides the needs of the real people.
    """
    blocks, needed = real.needs() if real else ([], [])
    check_needs(blocks, [*needed, *files])
    out.mkdir(parents=True, exist_ok=True)
    synthetic = Kind.synthetic(synthetic_networks(out, real.networks.squeeze if real else None))
    return [synthetic, *filter(None, [real])]


def synthetic_and_portraits(portraits: Path, weights: Path, out: Path, document: Path | None) -> list[Kind]:
    """As `synthetic_and_real` for the people of PORTRAITS (see backbones.py), with landmarks made if there are none.

    Args:
        weights: folder of the frozen networks.
        document: what the tables will be written into.
    """
    landmarks, networks = out / 'landmarks.npz', Networks.in_folder(weights)
    real = Kind.real('portraits', portraits, 'portraits_train', ['portraits_test'], landmarks, networks)
    kinds = synthetic_and_real(real, out, [document] if document else [])
    make_landmarks(portraits / 'identities', landmarks)
    return kinds


def make_landmarks(faces: Path, file: Path) -> None:
    """Make the landmarks of a folder of aligned faces unless they are there."""
    if not file.is_file():
        print(file.name, flush=True)
        subprocess.run([sys.executable, REPO / 'benchmarks/landmarks.py', faces, file], check=True)


def write_between(file: Path, begin: str, end: str, text: str) -> None:
    """Put text between two marks of a document, or end the program if they are not there."""
    old = file.read_text(encoding='utf-8')
    if begin not in old or end not in old:
        sys.exit(f'{file}: has no marks {begin} and {end}')
    head, tail = old[: old.index(begin)], old[old.index(end) :]
    file.write_text(f'{head}{begin}\n\n{text}\n\n{tail}', encoding='utf-8')
