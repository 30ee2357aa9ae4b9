"""What the generative backbone and its references bring: trains options/train/flow_64.yml with and without its parts.

    python benchmarks/generative.py PORTRAITS --weights WEIGHTS                 # goes on where it was stopped
    python benchmarks/generative.py PORTRAITS --weights WEIGHTS --write docs    # also into docs/generative.md

Arguments and people as of benchmarks/backbones.py: synthetic ones and portraits. RefSel and the mean are trained once
for each kind of people; from them every variant is trained, once for every seed, all equally long. Identity is reported
by another network than the one in the losses. Two cores take about four hours for both seeds, by estimate.
"""

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ablation_cases import IDENTITY
from ablation_report import collect, markdown
from tables import TITLES, difference, table
from trainings import Case, slug, synthetic_and_portraits, write_between

BEGIN, END = '<!-- tables: written by benchmarks/generative.py -->', '<!-- /tables -->'
# Variant -> dotted keys of the training's options.
VARIANTS = {
    'texture and tokens': {},
    'texture alone': {'network_g.context': None},
    'tokens alone': {'network_g.inputs': []},
    'neither': {'datasets.train.ref_drop_prob': 1.0},
    '+ identity loss, unscaled': IDENTITY | {'train.identity_by_time': False},
    '+ identity loss, by time': IDENTITY,
}
FULL = next(iter(VARIANTS))
# Row of the full variant -> val options and number of references.
MEAN, USED, SEEDS = 'K = 0, the mean', 'K = 4', (0, 1, 2)
IN_USE = {MEAN: ({'steps': 0}, 1)} | {f'K = {k}': ({'steps': k}, 1) for k in (1, 2, 4, 8)}
IN_USE |= {f'{n} references, averaged velocities': ({'combine': 'guidance'}, n) for n in (1, 2, 4)}
IN_USE |= {f'{n} references, one softmax': ({}, n) for n in (2, 4)}
IN_USE |= {'1 reference, factor 1.5': ({'combine': 'guidance', 'guidance_scale': 1.5}, 1)}
IN_USE |= {f'noise {seed}': ({'seed': seed}, 1) for seed in SEEDS[1:]}
# Row without references -> steps of the pass before, whose result serves as reference.
PREVIEWS = {'the mean as reference': 0, 'a sample as reference': 4}
COLUMNS = (('psnr', 'lpips', 'detail'), ('detail_energy', 'id_gt', 'copied'))
DIFFERENCES = ('psnr', 'lpips', 'detail', 'detail_energy', 'id_gt')


class FlowCase(Case):
    """All variants on one kind of people with one seed; ``iterations`` are of 'refsel', 'backbone' and 'flow'."""

    modules = ('preview_networks',)

    def parts(self) -> dict[str, str]:
        """Trains RefSel and the mean: key of `path` -> checkpoint, and under '' the text of their options."""
        refsel, text = self.refsel(person=False)
        name = f'{self.label}_mean'
        text += self.call('train', self.training('backbone', name, {}))
        files = {'refsel': refsel, 'mean': self.checkpoint(name)}
        return {f'path.pretrain_network_{part}': file for part, file in files.items()} | {'': text}

    def variant(self, name: str, parts: dict[str, str]) -> dict:
        """Options of the training of a variant."""
        files = {key: file for key, file in parts.items() if key}
        opt = self.training('flow', f'{self.label}_{slug(name)}', {**VARIANTS[name], **files})
        opt['datasets'].pop('val'), opt.pop('val')  # tests come after all trainings
        return opt

    def sampling(self, name: str, network: dict, row: str, val: dict, num_refs: int = 1) -> dict:
        """Options of a test of a variant."""
        experiment = f'{self.label}_{slug(name)}'
        path = {'pretrain_network_g': self.checkpoint(experiment), 'param_key_g': 'params_ema'}
        opt = self.test(experiment, network, path, slug(row), {'steps': 4, **val}, num_refs)
        opt['model_type'] = 'FlowModel'
        opt['val']['metrics']['detail_energy'] = {'type': 'calculate_detail_energy', 'down': 4}
        return opt

    def run(self, parts: dict[str, str]) -> None:
        """Trains and tests every variant; `parts` as of the method."""
        for name in VARIANTS:
            opt = self.variant(name, parts)
            made = self.call('train', opt, parts[''])
            rows = IN_USE if name == FULL else {name: ({'arms': ['none']} if name == 'neither' else {}, 1)}
            for row, (val, n) in rows.items():
                self.call('test', self.sampling(name, opt['network_g'], row, val, n), made)
            for row, steps in PREVIEWS.items() if name == FULL else ():
                network = {**opt['network_g'], 'type': 'RefSTARPreview', 'preview': steps}
                self.call('test', self.sampling(name, network, row, {'arms': ['none']}), made)

    def rows(self) -> dict[str, str]:
        """Row of the tables -> name of its test."""
        rows = {row: f'{self.label}_{slug(FULL)}_{slug(row)}' for row in (*IN_USE, *PREVIEWS)}
        rows |= {FULL: rows[USED]}
        return rows | {v: f'{self.label}_{slug(v)}_{slug(v)}' for v in VARIANTS if v != FULL}

    def results(self) -> dict[str, dict[str, dict]]:
        return {row: self.figures(test) for row, test in self.rows().items() if not row.startswith('noise')}

    def measured(self, row: str) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Test set -> arm -> photo -> metric -> value of a row."""
        return self.photos(self.rows()[row])


# ----------------------------------------------------------------- tables
def datasets(cases: list[FlowCase]) -> dict[str, list[FlowCase]]:
    """Test set -> the cases that were tested on it."""
    found: dict[str, list[FlowCase]] = {}
    for case in cases:
        for dataset in case.measured(USED):
            found.setdefault(dataset, []).append(case)
    return found


def differences(cases: list[FlowCase]) -> Iterator[str]:
    """Yield a table per test set: what steps and references change, with intervals over people, seeds averaged."""
    flow = (USED, 'none')
    pairs = {f'{USED}, none, less the mean': (flow, (MEAN, 'none'))}
    pairs |= {f'{arm} less none': ((USED, arm), flow) for arm in ('right', 'wrong')}
    for dataset, those in datasets(cases).items():
        found = {row: [case.measured(row)[dataset] for case in those] for row in (USED, MEAN)}
        first = next(iter(found[USED][0]['none'].values()))
        metrics, rows = [m for m in DIFFERENCES if m in first], []
        for title, sides in pairs.items():
            a, b = ([seed[arm] for seed in found[row]] for row, arm in sides)
            rows.append([title, *difference(a, b, metrics)])
        yield f'**{dataset}**: mean difference [95 % interval, people resampled]'
        yield ''
        yield from table(['', *(TITLES[m] for m in metrics)], rows)


def spread(cases: list[FlowCase]) -> Iterator[str]:
    """Yield a line per test set: standard deviation of ID-GT over noises, without and with the right reference."""
    for dataset, those in datasets(cases).items():
        found: dict[str, list[float]] = {'none': [], 'right': []}
        for case in those:
            noises = [case.measured(row)[dataset] for row in (USED, *(f'noise {seed}' for seed in SEEDS[1:]))]
            for arm, values in found.items():
                for photo in noises[0][arm]:
                    values.append(np.std([noise[arm][photo]['id_gt'] for noise in noises], ddof=1))
        means = {arm: f'{np.nanmean(values):.4f}' for arm, values in found.items()}
        yield f'{dataset}: spread of ID-GT over {len(SEEDS)} noises: {means["none"]} without a reference,'
        yield f'{means["right"]} with the right one.'


def picture(case: FlowCase, network: dict, file: Path) -> None:
    """Draw for a few people: photo, mean, three noises without, three with the reference, truth."""
    import cv2
    import torch
    from basicsr.archs import build_network
    from basicsr.data import build_dataset
    from basicsr.utils import tensor2img

    people = {'seed': 1, **next(iter(case.kind.tests.values()))}
    data = build_dataset({'name': 'x', 'phase': 'test', 'gt_size': case.size, 'num_refs': 1, **people})
    net = build_network(json.loads(json.dumps(network))).eval()
    weights = case.out / case.checkpoint(f'{case.label}_{slug(FULL)}')
    net.load_state_dict(torch.load(weights, weights_only=True)['params_ema'])
    rows = []
    for i in range(4):
        sample = data[i]
        lq, refs = sample['lq'][None], sample['refs'][None]
        with torch.no_grad():
            mean = net(lq, steps=0)
            row = [
                lq,
                mean,
                *(net(lq, given, seed=seed) for given in (None, refs) for seed in SEEDS),
                sample['gt'][None],
            ]
        rows.append(np.hstack([tensor2img(image.clamp(-1, 1), min_max=(-1, 1)) for image in row]))
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.resize(np.vstack(rows), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))


def report(cases: list[FlowCase]) -> str:
    """Return all tables."""
    text = markdown(collect([case.results() for case in cases]), COLUMNS)
    return '\n'.join([text, *differences(cases), *spread(cases)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('portraits', type=Path, help='folder with identities/ and splits/')
    parser.add_argument('--weights', type=Path, required=True, help='folder of the frozen networks')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    names = ('REFSEL', 'MEAN', 'FLOW')
    parser.add_argument('--iterations', type=int, nargs=3, default=[500, 400, 1000], metavar=names, help='of trainings')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='trainings side by side, each on one core')
    parser.add_argument('--out', type=Path, default=Path('results/generative'))
    parser.add_argument('--write', type=Path, metavar='DOCS', help='write tables and picture into DOCS/generative.md')
    args = parser.parse_args()
    out, document = args.out.resolve(), args.write / 'generative.md' if args.write else None
    kinds = synthetic_and_portraits(args.portraits.resolve(), args.weights.resolve(), out, document)
    iterations = dict(zip(('refsel', 'backbone', 'flow'), args.iterations, strict=True))
    cases = [FlowCase(kind, seed, out, iterations) for seed in args.seeds for kind in kinds]
    with ThreadPoolExecutor(args.jobs) as pool:
        made = zip(kinds, pool.map(FlowCase.parts, cases[: len(kinds)]), strict=True)
        parts = {kind.name: part for kind, part in made}
        list(pool.map(lambda one: one.run(parts[one.kind.name]), cases))
    network = cases[0].variant(FULL, parts['synthetic'])['network_g']
    text = report(cases)
    (out / 'tables.md').write_text(text, encoding='utf-8')
    print(text)
    if document:
        picture(cases[0], network, args.write / 'images/generative.png')
        write_between(document, BEGIN, END, f'{text}\n\n![seeds](images/generative.png)')


if __name__ == '__main__':
    main()
