"""Kills a small training at random moments and resumes it; the weights must be those of an undisturbed run, bit by bit.

    python tests/helpers/kill_resume.py --kills 30

What is trained: the shipped recipe of RefSTAR on GFPGAN, made small (cycle pass, discriminator with R1, EMA), with 0
and with 2 loader processes in turn. Every run is a process of its own, forked from this one so that libraries are
imported once, and is killed by SIGKILL with its loader processes. Prints one line per kill; exit code 1 if any weight
differs.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from helpers import forked
from helpers.forked import ended
from helpers.recipes import OPTIONS, plain
from helpers.shrink import replace_files, shrink

from refstar.tools.train import main as train
from refstar.trainer.option_file import load_options


def recipe(files: Path, iterations: int) -> dict:
    """The recipe, small, saving every second iteration; an epoch has six."""
    opt = shrink(replace_files(load_options(OPTIONS / 'train/refstar_gfpgan_512.yml'), files))
    opt.update(name='run', manual_seed=1)
    opt['train'].update(total_iter=iterations, ema_decay=0.9, net_d_reg_every=3)
    opt['train'].update(dict.fromkeys(['lpips_opt', 'identity_opt', 'person_opt']))  # for speed: large frozen networks
    opt['train']['freeze'], opt['network_g']['context'] = None, None
    opt['network_g']['refsel']['person'] = None
    opt['datasets']['train']['dataset_enlarge_ratio'] = 1
    opt['logger'].update(save_checkpoint_freq=2, keep_last=2)
    opt['val'], opt['datasets'] = None, {'train': opt['datasets']['train']}
    return opt


def start(folder: Path, opt: dict, before: Callable[[], object] = int) -> int:
    """Begins a training in a folder or goes on with it.

    Args:
        folder: where a user would have typed the command; `log.txt` gets what is printed.
        opt: option file.
        before: called in the new process first.

    Returns:
        Id of its process, which leads a group of its own.
    """
    folder.mkdir(exist_ok=True)
    (folder / 'x.yml').write_text(yaml.safe_dump(plain(opt), sort_keys=False))

    def run() -> int:
        before()
        return train(['-opt', 'x.yml', '--auto_resume'])

    return forked.start(folder, run)


def finish(folder: Path, opt: dict) -> Path:
    """Trains to the end; returns the folder of the run."""
    if ended(start(folder, opt)):
        raise RuntimeError((folder / 'log.txt').read_text()[-3000:])
    return folder / 'experiments' / opt['name']


def killed(folder: Path, opt: dict, after: float) -> bool:
    """Starts a training and kills it; returns whether it was still running."""
    child = start(folder, opt)
    time.sleep(after)
    running = os.waitpid(child, os.WNOHANG)[0] == 0
    if running:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return running


def differences(a: Path, b: Path, last: int) -> list[str]:
    """Files of the last checkpoint that differ between two runs: networks, EMA, optimizers, random states."""
    names = [str(path.relative_to(a)) for path in a.rglob(f'*_{last}.pth')]
    names += [name.replace(str(last), 'latest') for name in names] + [f'training_states/{last}.state']
    return [name for name in names if not same(*(torch.load(run / name, weights_only=True) for run in (a, b)))]


def same(a: object, b: object) -> bool:
    """Equal bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--iterations', type=int, default=12, help='of the training')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    moments, wrong = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        opt, begin = recipe(root / 'files', args.iterations), time.time()
        whole = finish(root / 'whole', opt)
        length = time.time() - begin
        for kill in range(args.kills):
            folder, workers = root / f'kill{kill}', 2 * (kill % 2)
            opt['datasets']['train']['num_worker_per_gpu'] = workers
            after = moments.uniform(0, length)
            while not killed(folder, opt, after):  # it had ended: the machine is faster than it was
                shutil.rmtree(folder)
                length *= 0.8
                after = moments.uniform(0, length)
            saved = sorted(int(path.stem) for path in folder.glob('experiments/run/training_states/*.state'))
            found = differences(whole, finish(folder, opt), args.iterations)
            wrong += bool(found)
            state = f'{workers} workers, killed after {after:5.2f} s, saved {saved}'
            print(f'{kill + 1:3d}: {state}: {found or "the same"}', flush=True)
            shutil.rmtree(folder)
    print(f'{args.kills - wrong} of {args.kills} killed runs ended with the weights of the undisturbed one.')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
