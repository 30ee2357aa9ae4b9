"""RefSel and RefSTAR on real photos at 128 px: trains both, tests on people never seen, prints the table of arms.

    python benchmarks/real_faces.py FACES --seed 0 --minutes 30
    python benchmarks/real_faces.py FACES --seed 1 --minutes 30
    python benchmarks/real_faces.py FACES --table
    python benchmarks/real_faces.py FACES --seed 0 --sweep val.strength 1 0.75 0.5     # on lfw_val, not on the tests

FACES holds `identities/<person>/<photo>`, `splits/*.txt` (lfw_train, lfw_val, lfw_test, london_test) and `weights/`.
The options are the shipped `options/train/refsel_128.yml`, `options/train/refstar_gfpgan_128.yml` and
`options/test/refstar_gfpgan_128.yml`; only names, paths, the seed and, with --minutes, the number of iterations change.
The same command goes on where it was stopped. No photo is written outside FACES: figures only.
"""

import argparse
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import yaml
from checks import check_needs
from tables import ARMS, TITLES, digits, table

from refstar.evaluation.demo_steps import set_option
from refstar.trainer.option_file import load_options
from refstar.utils.training_log import parse_line

REPO = Path(__file__).resolve().parent.parent
OPTIONS = {
    'refsel': REPO / 'options/train/refsel_128.yml',
    'refstar': REPO / 'options/train/refstar_gfpgan_128.yml',
    'test': REPO / 'options/test/refstar_gfpgan_128.yml',
}
SHARE = {'refsel': 0.12, 'refstar': 0.88}  # of the minutes
TRIAL = 12  # iterations of the run that measures the speed
STAMP = re.compile(r'^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ')
METRICS = ('psnr', 'ssim', 'detail', 'lpips', 'id_gt', 'id_ref', 'id_wrong')


class Run:
    """One seed's training and tests, in a folder.

    Args:
        faces (Path): folder of the photos.
        out (Path): output folder.
        seed (int): of weights and data.
        minutes (float | None): wall time for both trainings; None: the shipped numbers of iterations.
        photos (int | None): photos of each test set, evenly spread; None: all.
        refsel (Path | None): a trained RefSel to use in place of training one.
    """

    def __init__(
        self,
        faces: Path,
        out: Path,
        seed: int,
        minutes: float | None = None,
        photos: int | None = None,
        refsel: Path | None = None,
    ) -> None:
        self.faces, self.out, self.seed, self.minutes = faces, out, seed, minutes
        self.photos, self.refsel = photos, refsel
        self.ledger_file = out / f'steps_s{seed}.json'
        self.ledger = json.loads(self.ledger_file.read_text()) if self.ledger_file.is_file() else {}

    def name(self, step: str) -> str:
        """Name of the experiment of a step."""
        return f'{step}_s{self.seed}'

    def options(self, step: str) -> dict:
        """The shipped options of a step with this run's names, paths and seed."""
        text = OPTIONS[step].read_text(encoding='utf-8')
        text = text.replace('datasets/faces_landmarks.npz', str(self.out / 'landmarks.npz'))
        text = text.replace('datasets/faces/', f'{self.faces}/')
        for other in ('refsel', 'refstar'):
            shipped = load_options(OPTIONS[other])['name']
            text = text.replace(f'experiments/{shipped}/', f'experiments/{self.name(other)}/')
        file = self.out / 'options' / f'{self.name(step)}.yml'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding='utf-8')
        opt = json.loads(json.dumps(load_options(file)))
        opt.update(name=self.name(step), manual_seed=self.seed)
        if step == 'test':
            opt['val'].update(save_img=False)
            for dataset in opt['datasets'].values():
                dataset['max_images'] = self.photos
        else:
            opt['datasets']['train']['seed'] += self.seed
            self.set_length(opt, step)
        if step == 'refstar' and self.refsel:
            opt['path']['pretrain_network_refsel'] = str(self.refsel)
        return opt

    def set_length(self, opt: dict, step: str) -> None:
        """Number of iterations for the minutes given; kept in the ledger, so that a resumed run has the same."""
        if self.minutes is None:
            return
        row = self.ledger.setdefault(step, {})
        if 'iterations' not in row:
            row['iterations'] = max(50, int(self.minutes * SHARE[step] * 60 / self.seconds_per_iteration(opt)))
            self.save()
        total = row['iterations']
        opt['train'].update(total_iter=total)
        opt['train']['scheduler'].update(periods=[total])

    def seconds_per_iteration(self, opt: dict) -> float:
        """Measured in a short run under another name."""
        opt = json.loads(json.dumps(opt))
        opt['name'] += '_trial'
        opt['train']['total_iter'] = TRIAL
        opt['logger'].update(print_freq=TRIAL // 3, save_checkpoint_freq=10**9)
        lines = [line for line in self.call('train', opt, []).splitlines() if parse_line(line)]
        first, last = (
            datetime.strptime(STAMP.match(line)[1], '%Y-%m-%d %H:%M:%S,%f') for line in (lines[0], lines[-1])
        )
        shutil.rmtree(self.out / 'experiments' / opt['name'])
        return (last - first).total_seconds() / (TRIAL - TRIAL // 3)

    def call(self, command: str, opt: dict, flags: list[str]) -> str:
        """Runs `basicsr <command>` in the output folder; returns its log."""
        file = self.out / 'options' / f'{opt["name"]}.yml'
        file.write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
        log = self.out / f'{opt["name"]}.log'
        argv = [sys.executable, '-m', f'refstar.tools.{command}', '-opt', str(file), *flags]
        with open(log, 'w', encoding='utf-8') as stream:
            code = subprocess.run(argv, cwd=self.out, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        text = log.read_text(encoding='utf-8', errors='replace')
        if code:
            sys.exit(f'{opt["name"]} failed (exit code {code}); the end of {log}:\n{text[-2000:]}')
        return text

    def step(self, step: str, product: str) -> None:
        """Runs a step unless its product is there; adds its CPU time to the ledger."""
        if list(self.out.glob(product)):
            return
        opt = self.options(step)
        print(f'{datetime.now():%H:%M:%S} {opt["name"]}', flush=True)
        wall, cpu = time.monotonic(), children_cpu()
        self.call('test' if step == 'test' else 'train', opt, [] if step == 'test' else ['--auto_resume'])
        row = self.ledger.setdefault(step, {})
        row['wall_minutes'] = round(row.get('wall_minutes', 0) + (time.monotonic() - wall) / 60, 1)
        row['cpu_minutes'] = round(row.get('cpu_minutes', 0) + (children_cpu() - cpu) / 60, 1)
        if step != 'test':
            row['iterations'] = opt['train']['total_iter']
        self.save()

    def sweep(self, key: str, values: list[str]) -> None:
        """The arms on lfw_val with several values of an option of the test; prints a line for each."""
        for value in values:
            opt = self.options('test')
            set_option(opt, key, float(value))
            dataset = opt['datasets'].pop('test_1')
            dataset.update(name='lfw_val', split_file=dataset['split_file'].replace('lfw_test', 'lfw_val'))
            opt.update(name=f'sweep_s{self.seed}_{key}_{value}', datasets={'test_1': dataset})
            self.call('test', opt, [])
            arms = json.loads((self.out / f'results/{opt["name"]}/metrics_lfw_val.json').read_text())['arms']
            for arm in ARMS:
                figures = ', '.join(f'{metric} {arms[arm][metric]:.3f}' for metric in METRICS)
                print(f'{key} {value} {arm}: {figures}', flush=True)

    def save(self) -> None:
        self.ledger_file.write_text(json.dumps(self.ledger, indent=2))

    def check(self) -> None:
        """End the program if a file or package is missing that a step needs."""
        shipped = json.dumps([load_options(file) for file in OPTIONS.values()])
        check_needs(json.loads(shipped.replace('datasets/faces/', f'{self.faces}/')))

    def run(self) -> None:
        """Make landmarks, train RefSel and RefSTAR, and test."""
        landmarks = self.out / 'landmarks.npz'
        if not landmarks.is_file():
            script = REPO / 'benchmarks/landmarks.py'
            subprocess.run([sys.executable, script, self.faces / 'identities', landmarks], check=True)
        for step in ('refstar',) if self.refsel else ('refsel', 'refstar'):
            self.step(step, f'experiments/{self.name(step)}/models/net_g_latest.pth')
        self.step('test', f'results/{self.name("test")}/metrics_london_test.json')


def children_cpu() -> float:
    """CPU seconds of all finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def collect(out: Path) -> dict:
    """All seeds' figures: test set -> arm (or difference of arms) -> metric -> value of every seed."""
    seen: dict = {}
    for file in sorted(out.glob('results/test_s*/metrics_*.json')):
        found = json.loads(file.read_text())
        arms = found['arms']
        rows = {arm: arms[arm] for arm in ARMS}
        for other in ('none', 'wrong'):
            rows[f'right - {other}'] = {m: arms['right'][m] - arms[other][m] for m in METRICS}
        rows['wrong - none'] = {m: arms['wrong'][m] - arms['none'][m] for m in METRICS}
        part = seen.setdefault(found['dataset'], {'images': found['images'], 'rows': {}})
        for name, row in rows.items():
            for metric in METRICS:
                part['rows'].setdefault(name, {}).setdefault(metric, []).append(round(row[metric], 4))
    return seen


def markdown(seen: dict) -> str:
    """The table for people: mean over the seeds, and half of their range where there are several."""
    lines = []
    for dataset, part in seen.items():
        seeds = len(part['rows']['right']['psnr'])
        lines += [f'**{dataset}**, {part["images"]} photos, {seeds} seed{"s" * (seeds > 1)}', '']
        rows = [[name, *(cell(row[m], m) for m in METRICS)] for name, row in part['rows'].items()]
        lines += table(['', *(TITLES[m] for m in METRICS)], rows)
    return '\n'.join(lines)


def cell(values: list[float], metric: str) -> str:
    d = digits(metric)
    text = f'{statistics.mean(values):.{d}f}'
    return text if len(values) < 2 else f'{text} ± {(max(values) - min(values)) / 2:.{d}f}'


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path, help='folder with identities/, splits/ and weights/')
    parser.add_argument('--minutes', type=float, help='wall time for the trainings; default: the shipped iterations')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--photos', type=int, help='photos of each test set, evenly spread; default: all')
    parser.add_argument('--refsel', type=Path, help='a trained RefSel (.pth) to use in place of training one')
    parser.add_argument('--sweep', nargs='+', metavar=('KEY', 'VALUE'), help='only this: a key of the test, its values')
    parser.add_argument('--out', type=Path, default=Path('results/real_faces'))
    parser.add_argument('--table', action='store_true', help='only merge the seeds that are there into one table')
    args = parser.parse_args()
    faces, out = args.faces.resolve(), args.out.resolve()
    if not (faces / 'identities').is_dir():
        parser.error(f'{faces}/identities: not found')
    if not args.table:
        refsel = args.refsel and args.refsel.resolve()
        run = Run(faces, out, args.seed, args.minutes, args.photos, refsel)
        run.check()
        out.mkdir(parents=True, exist_ok=True)
        if args.sweep:
            run.sweep(args.sweep[0], args.sweep[1:])
            return
        run.run()
    found = collect(out)
    if not found:
        parser.error(f'{out}: no seed is finished')
    (out / 'table.json').write_text(json.dumps(found, indent=2))
    (out / 'table.md').write_text(markdown(found), encoding='utf-8')
    print(markdown(found))


if __name__ == '__main__':
    main()
