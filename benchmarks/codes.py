"""How references reach CodeFormer's codes: by context, in the encoder before the codes, in the generator, or all three.

    python benchmarks/codes.py PORTRAITS --weights WEIGHTS                  # goes on where it was stopped
    python benchmarks/codes.py PORTRAITS --weights WEIGHTS --write docs     # table into docs/experiments.md

Arguments as of benchmarks/backbones.py, whose RefSel and stage I are used where they are there. CodeFormer's three
stages, small and from nothing, as in `options/train/codeformer_stage*_64.yml`: stage I once, stages II and III for
every way. Each is tested at w = 0, 0.5 and 1. The arm *none* of a way is its bare backbone, trained with references.
Two cores take about an hour.
"""

import argparse
import copy
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backbones import METRICS, Comparison, vqgan
from tables import ARMS, TITLES, difference, mean, table
from trainings import REPO, STRICT, synthetic_and_portraits, write_between

from refstar.evaluation.demo_steps import set_option
from refstar.trainer.option_file import load_options

BEGIN, END = '<!-- codes: written by benchmarks/codes.py -->', '<!-- /codes -->'
STAGES = {stage: REPO / f'options/train/codeformer_{stage}_64.yml' for stage in ('stage2', 'stage3')}
SHIPPED = load_options(STAGES['stage2'])['network_g']
ENCODER, CONTEXT = SHIPPED['taps'], {key: SHIPPED[key] for key in ('context', 'context_taps')}
GENERATOR = ['generator.blocks.7', 'generator.blocks.10']  # 16 and 32 pixels
WAYS = {
    'context': {'taps': [], **CONTEXT},
    'encoder': {'taps': ENCODER},
    'generator': {'taps': GENERATOR},
    'all three': {'taps': [*ENCODER, *GENERATOR], **CONTEXT},
}
FIDELITIES = (0, 0.5, 1)


class Codes(Comparison):
    """All ways by which references reach the codes."""

    def way(self, way: str) -> dict:
        """Options of RefSTAR around CodeFormer."""
        return {**self.network('CodeFormer'), **copy.deepcopy(WAYS[way])}

    def stage(self, stage: str, way: str, refsel: str) -> dict:
        """Options of the training of stage II or III."""
        name = self.experiment(way, stage)
        opt, old = self.training('refstar', name, {}), load_options(STAGES[stage])
        if stage == 'stage3':  # lightly and heavily degraded faces
            opt['datasets']['train']['degradation'] = old['datasets']['train']['degradation']
        opt['network_g'] = self.way(way)
        opt['network_vqgan'] = {**old['network_vqgan'], **vqgan(self.size)}
        opt['path'], opt['train'] = dict(old['path']), dict(old['train'])
        first = self.checkpoint(self.experiment('CodeFormer', 'vqgan'))
        opt['path']['pretrain_network_vqgan'] = first
        if stage == 'stage2':
            opt['path'].update(pretrain_network_backbone=first, pretrain_network_refsel=refsel)
        else:
            opt['path']['pretrain_network_g'] = self.checkpoint(self.experiment(way, 'stage2'))
        total = self.iterations[stage]
        set_option(opt, 'train.total_iter', total)
        opt['train']['scheduler'] = {**opt['train']['scheduler'], 'periods': [total]}
        return opt

    def tested(self, way: str, w: float) -> dict:
        """Options of the test of a way at a fidelity."""
        network = self.way(way)
        network['refsel']['person']['strictness'] = STRICT
        path = {'pretrain_network_g': self.checkpoint(self.experiment(way, 'stage3')), 'param_key_g': 'params_ema'}
        return self.test(self.experiment(way, 'stage3'), network, path, f'w{w}', {'backbone_kwargs': {'w': w}})

    def run_way(self, way: str, refsel: str, of: str) -> None:
        """Train stages II and III of a way, and test it."""
        for stage in STAGES:
            of = self.call('train', self.stage(stage, way, refsel), of)
        for w in FIDELITIES:
            self.call('test', self.tested(way, w), of)

    def found(self) -> dict[str, dict[str, dict[str, dict]]]:
        """Test set -> way and w -> arm -> photo -> metric -> value."""
        result: dict = {}
        for way in WAYS:
            for w in FIDELITIES:
                for dataset, arms in self.photos(f'{self.experiment(way, "stage3")}_w{w}').items():
                    result.setdefault(dataset, {})[f'{way}, w = {w}'] = arms
        return result


def markdown(found: dict[str, dict[str, dict]]) -> str:
    """Return the tables for people."""
    lines = []
    for dataset, ways in found.items():
        shown = [m for m in METRICS if all(m in row for row in next(iter(ways.values()))['right'].values())]
        rows, gains = [], []
        for name, arms in ways.items():
            rows.append([name, *(' / '.join(mean(arms[arm], m) for arm in ARMS) for m in shown)])
            gains.append([name, *difference([arms['right']], [arms['none']], ['detail', 'id_gt'])])
        lines += [f'**{dataset}**: right / none / wrong', '', *table(['', *(TITLES[m] for m in shown)], rows)]
        lines += ['Right minus none:', '', *table(['', 'detail', 'ID-GT'], gains)]
    return '\n'.join(lines).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('portraits', type=Path, help='folder with identities/ and splits/')
    parser.add_argument('--weights', type=Path, required=True, help='folder of the frozen networks')
    parser.add_argument(
        '--iterations',
        type=int,
        nargs=4,
        default=[500, 2400, 500, 300],
        metavar=('REFSEL', 'VQGAN', 'STAGE2', 'STAGE3'),
        help='of the trainings (default: 500 2400 500 300)',
    )
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='trainings side by side, each on one core')
    parser.add_argument('--out', type=Path, default=Path('results/backbones'))
    parser.add_argument('--write', type=Path, metavar='DOCS', help='write the tables into DOCS/experiments.md')
    args = parser.parse_args()
    iterations = dict(zip(('refsel', 'vqgan', 'stage2', 'stage3'), args.iterations, strict=True))
    iterations['refstar'] = iterations['stage2']
    out, document = args.out.resolve(), args.write / 'experiments.md' if args.write else None
    _, portraits = synthetic_and_portraits(args.portraits.resolve(), args.weights.resolve(), out, document)
    case = Codes(portraits, 0, out, iterations)
    with ThreadPoolExecutor(args.jobs) as pool:
        refsel, first = pool.submit(case.refsel, True), pool.submit(case.stage1)
        file, made = refsel.result()
        made += first.result()
        list(pool.map(lambda way: case.run_way(way, file, made), WAYS))
    text = markdown(case.found())
    (out / 'codes.md').write_text(text, encoding='utf-8')
    print(text)
    if document:
        write_between(document, BEGIN, END, text)


if __name__ == '__main__':
    main()
