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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ablation_cases import Ablation
from ablation_report import collect, markdown, write_docs
from trainings import Kind, synthetic_and_real


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
    out, landmarks = args.out.resolve(), args.landmarks.resolve()
    files = [args.write / 'experiments.md'] if args.write else []
    real = Kind.lfw(args.faces.resolve(), landmarks) if args.faces else None
    kinds = synthetic_and_real(real, out, [*files, landmarks] if real else files)
    iterations = dict(zip(('refsel', 'backbone', 'refstar'), args.iterations, strict=True))
    cases = [Ablation(kind, seed, out, iterations) for seed in args.seeds for kind in kinds]
    with ThreadPoolExecutor(args.jobs) as pool:
        firsts = cases[: len(kinds)]
        made = zip(kinds, pool.map(Ablation.refsels, firsts), strict=True)
        refsels = {kind.name: checkpoints for kind, checkpoints in made}
        list(pool.map(lambda one: one.run(refsels[one.kind.name]), cases))
    found = collect([case.results() for case in cases])
    text = markdown(found)
    (out / 'table.json').write_text(json.dumps(found, indent=2))
    (out / 'table.md').write_text(text, encoding='utf-8')
    print(text)
    if args.write:
        write_docs(args.write, text, found)


if __name__ == '__main__':
    main()
