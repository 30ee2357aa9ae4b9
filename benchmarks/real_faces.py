"""RefSel and RefSTAR on real photos at 128 px: trains both, tests on people never seen, prints the table of arms.

    python benchmarks/real_faces.py FACES --seed 0
    python benchmarks/real_faces.py FACES --seed 1                                     # the table is of all seeds
    python benchmarks/real_faces.py FACES --seed 0 --sweep val.strength 1 0.75 0.5     # on lfw_val, not on the tests

FACES holds `identities/<person>/<photo>`, `splits/*.txt` (lfw_train, lfw_val, lfw_test, london_test) and `weights/`.
The options are the shipped `options/train/refsel_128.yml`, `options/train/refstar_gfpgan_128.yml` and
`options/test/refstar_gfpgan_128.yml`; only names, paths and the seed change. Each runs on one core. The same command
goes on where it was stopped. No photo is written outside FACES: figures only.
"""

import argparse
import json
import statistics
from pathlib import Path

from checks import check_needs
from tables import ARMS, TITLES, digits, table
from trainings import REPO, make_landmarks, run_once

from refstar.evaluation.demo_steps import set_option
from refstar.trainer.option_file import load_options

OPTIONS = {
    'refsel': REPO / 'options/train/refsel_128.yml',
    'refstar': REPO / 'options/train/refstar_gfpgan_128.yml',
    'test': REPO / 'options/test/refstar_gfpgan_128.yml',
}
METRICS = ('psnr', 'ssim', 'detail', 'lpips', 'id_gt', 'id_ref', 'id_wrong')


class Run:
    """One seed's training and tests, in a folder.

    Args:
        faces (Path): folder of the photos.
        out (Path): output folder.
        seed (int): of weights and data.
        photos (int | None): photos of each test set, evenly spread; None: all.
    """

    def __init__(self, faces: Path, out: Path, seed: int, photos: int | None = None) -> None:
        self.faces, self.out, self.seed, self.photos = faces, out, seed, photos

    def name(self, step: str) -> str:
        """Name of the experiment of a step."""
        return f'{step}_s{self.seed}'

    def options(self, step: str) -> dict:
        """The shipped options of a step with this run's names, paths and seed."""
        shipped = {step: load_options(file) for step, file in OPTIONS.items()}
        text = json.dumps(shipped[step])
        text = text.replace('datasets/faces_landmarks.npz', str(self.out / 'landmarks.npz'))
        text = text.replace('datasets/faces/', f'{self.faces}/')
        for other in ('refsel', 'refstar'):
            text = text.replace(f'experiments/{shipped[other]["name"]}/', f'experiments/{self.name(other)}/')
        opt = json.loads(text)
        opt.update(name=self.name(step), manual_seed=self.seed)
        if step == 'test':
            opt['val'].update(save_img=False)
            for dataset in opt['datasets'].values():
                dataset['max_images'] = self.photos
        else:
            opt['datasets']['train']['seed'] += self.seed
        return opt

    def check(self) -> None:
        """End the program if a file or package is missing that a step needs."""
        shipped = json.dumps([load_options(file) for file in OPTIONS.values()])
        check_needs(json.loads(shipped.replace('datasets/faces/', f'{self.faces}/')))

    def train(self) -> str:
        """Make landmarks, train RefSel and RefSTAR; return the text of their options."""
        make_landmarks(self.faces / 'identities', self.out / 'landmarks.npz')
        return run_once(self.out, 'train', self.options('refstar'), run_once(self.out, 'train', self.options('refsel')))

    def run(self) -> None:
        """Train and test."""
        run_once(self.out, 'test', self.options('test'), self.train())

    def sweep(self, key: str, values: list[str]) -> None:
        """The arms on lfw_val with several values of an option of the test; prints a line for each."""
        trained = self.train()
        for value in values:
            opt = self.options('test')
            set_option(opt, key, float(value))
            dataset = opt['datasets'].pop('test_1')
            dataset.update(name='lfw_val', split_file=dataset['split_file'].replace('lfw_test', 'lfw_val'))
            opt.update(name=f'sweep_s{self.seed}_{key}_{value}', datasets={'test_1': dataset})
            run_once(self.out, 'test', opt, trained)
            arms = json.loads((self.out / f'results/{opt["name"]}/metrics_lfw_val.json').read_text())['arms']
            for arm in ARMS:
                figures = ', '.join(f'{metric} {arms[arm][metric]:.3f}' for metric in METRICS)
                print(f'{key} {value} {arm}: {figures}', flush=True)


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
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--photos', type=int, help='photos of each test set, evenly spread; default: all')
    parser.add_argument('--sweep', nargs='+', metavar=('KEY', 'VALUE'), help='only this: a key of the test, its values')
    parser.add_argument('--out', type=Path, default=Path('results/real_faces'))
    args = parser.parse_args()
    faces, out = args.faces.resolve(), args.out.resolve()
    if not (faces / 'identities').is_dir():
        parser.error(f'{faces}/identities: not found')
    run = Run(faces, out, args.seed, args.photos)
    run.check()
    out.mkdir(parents=True, exist_ok=True)
    if args.sweep:
        run.sweep(args.sweep[0], args.sweep[1:])
        return
    run.run()
    found = collect(out)
    (out / 'table.json').write_text(json.dumps(found, indent=2))
    (out / 'table.md').write_text(markdown(found), encoding='utf-8')
    print(markdown(found))


if __name__ == '__main__':
    main()
