"""What each part of the method brings: trains the demo's network in steps from no reference to the full method.

    python benchmarks/ablation.py                               # synthetic people, two seeds
    python benchmarks/ablation.py --faces FACES                 # and real ones, at 64 px
    python benchmarks/ablation.py --faces FACES --write docs    # tables into docs/experiments.md, plots beside it

FACES as for benchmarks/real_faces.py, whose landmarks are used (`--landmarks`). The same command goes on where it was
stopped. RefSel is trained once for each kind of people (the last variant's has a person check), with the first seed.
With every seed a backbone is trained without references; from it every variant is trained on, all equally long, and so
is the bare backbone that they are compared with. The full method is then tested as it is used: with a strict person
check, and with several references. Identity is reported by another network than the one in the losses. No photo is
written: figures only. Two cores take some three hours for both seeds.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ablation_cases import REPO, Case, Networks
from ablation_report import collect, markdown, write_docs
from checks import check_needs


def synthetic_networks(out: Path, squeeze: Path | None) -> Networks:
    """Trains the two identity networks of synthetic people unless they are there."""
    files = [out / f'identity{seed}.pth' for seed in (0, 1)]
    for seed, file in enumerate(files):
        if not file.is_file():
            print(f'{file.name}', flush=True)
            script = REPO / 'benchmarks/synthetic_identity.py'
            subprocess.run([sys.executable, script, file, '--seed', str(seed)], check=True)
    return Networks(('mobilefacenet', files[0]), ('mobilefacenet', files[1]), squeeze)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--faces', type=Path, help='folder with identities/, splits/ and weights/; default: none')
    parser.add_argument('--landmarks', type=Path, default=Path('results/real_faces/landmarks.npz'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument(
        '--iterations',
        type=int,
        nargs=3,
        default=[500, 350, 200],
        metavar=('REFSEL', 'BACKBONE', 'VARIANT'),
        help='of the trainings (default: 500 350 200)',
    )
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='trainings side by side, each on one core')
    parser.add_argument('--out', type=Path, default=Path('results/ablation'))
    parser.add_argument('--write', type=Path, metavar='DOCS', help='write tables and plots into DOCS/experiments.md')
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    faces, landmarks = args.faces and args.faces.resolve(), args.landmarks.resolve()
    squeeze, real, used, files = None, [], [], [args.write / 'experiments.md'] if args.write else []
    if faces:
        weights = faces / 'weights'
        squeeze = weights / 'squeezenet1_1_features.pth'
        names = {'mobilefacenet': 'mobilefacenet_ms1m_128.pt', 'edgeface_xxs': 'edgeface_xxs_q.pt'}
        used = [(name, weights / file) for name, file in names.items()]
        real = [('real', Networks(*used, squeeze))]
        splits = [faces / 'splits' / f'{name}.txt' for name in ('lfw_train', 'lfw_test', 'london_test')]
        files += [squeeze, landmarks, faces / 'identities', *splits]
    check_needs([Networks.block(network) for network in used], files)
    kinds = [('synthetic', synthetic_networks(out, squeeze)), *real]
    iterations = dict(zip(('refsel', 'backbone', 'refstar'), args.iterations, strict=True))

    def case(kind: str, networks: Networks, seed: int) -> Case:
        return Case(kind, seed, out, networks, iterations, faces, landmarks)

    cases = [case(*kind, seed) for seed in args.seeds for kind in kinds]
    with ThreadPoolExecutor(args.jobs) as pool:
        firsts = [case(*kind, args.seeds[0]) for kind in kinds]
        refsels = {first.kind: made for first, made in zip(firsts, pool.map(Case.refsels, firsts), strict=True)}
        list(pool.map(lambda one: one.run(refsels[one.kind]), cases))
    table = collect([case.results() for case in cases])
    text = markdown(table)
    (out / 'table.json').write_text(json.dumps(table, indent=2))
    (out / 'table.md').write_text(text, encoding='utf-8')
    print(text)
    if args.write:
        write_docs(args.write, text, table)


if __name__ == '__main__':
    main()
