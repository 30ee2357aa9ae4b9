"""How much of a small correction to leave away: limits of `keep_photo` on people of the validation lists.

    python benchmarks/keep_photo.py FACES PORTRAITS [--photos 24]

Arguments as of benchmarks/real_photos.py. The network that ships, with the right reference; five minutes on two cores.
"""

import argparse
from pathlib import Path

import torch
from checks import check_needs
from real_photos import DEGRADATIONS, Judge, build_test_set, restored, test_sets
from tables import TITLES, mean, table

from refstar.restore.restorer import Restorer
from refstar.utils.released_weights import SHIPPED

LIMITS = (None, *((0.5, 0.006, factor) for factor in (1, 2, 3)), (0.3, 0.005, 1), (0.5, 0.0075, 1), (0.2, 1, 1))
METRICS = ('psnr', 'lpips', 'detail', 'id_gt')


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path)
    parser.add_argument('portraits', type=Path)
    parser.add_argument('--photos', type=int, default=24, help='photos of each set (default: 24)')
    args = parser.parse_args()
    weights = args.faces / 'weights'
    lists = {
        'portraits_test': args.portraits / 'splits/portraits_val.txt',
        'lfw_test': args.faces / 'splits/lfw_val.txt',
    }
    files = [weights / 'squeezenet1_1_features.pth', *lists.values()]
    check_needs([{'network': 'edgeface_xxs', 'weights': str(weights / 'edgeface_xxs_q.pt')}], files)
    restorer, judge = Restorer.from_pretrained(SHIPPED, detector=None), Judge(weights)
    sets = test_sets(args.faces, args.portraits)
    for name, people in lists.items():
        for degradation in ('severe', 'moderate'):
            options, found = {**sets[name], 'split_file': people}, {}
            for sample in build_test_set(options, DEGRADATIONS[degradation], args.photos):
                lq, gt, right = (sample[key].reshape(1, 3, *sample['gt'].shape[1:]) for key in ('lq', 'gt', 'refs'))
                images: dict[str, torch.Tensor] = {'photo': lq}
                for limits in LIMITS:
                    restorer.net.backbone.keep = limits
                    images[str(limits)], _ = restored(restorer, lq, right)
                for row, scores in judge(images, gt, right).items():
                    found.setdefault(row, {})[sample['lq_path']] = scores
            rows = [[row, *(mean(photos, metric) for metric in METRICS)] for row, photos in found.items()]
            title = f'{people.stem}, {degradation}'
            print('\n'.join(table([title, *(TITLES[metric] for metric in METRICS)], rows)), flush=True)


if __name__ == '__main__':
    main()
