"""`refstar evaluate`: scores of restored faces, of this project or any other, with intervals and a report.

Either `--pred NAME=DIR ...` (folders of restored photos), or `--opt X.yml` (runs the model of a test first).
"""

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import at_least, command, import_modules, shared

ARMS = ('right', 'none', 'wrong')
OF_MODEL = {'arms': 'arms', 'force_yml': 'force_yml', 'modules': 'import'}  # with --opt only
OF_FOLDERS = 'gt lq mapping refs wrong people regions size name num_refs pred_suffix'  # not with --opt
PANELS = ('LQ', 'reference', 'GT')  # of the report's pictures, so no names of methods
WEIGHTS = {
    'lpips_weights': 'ImageNet backbone of LPIPS (torchvision)',
    'id_weights': 'network of the identity protocol (.onnx, .pth, TorchScript)',
    'detector_weights': "face detector of the protocol insightface: facexlib's RetinaFace (.pth) or YuNet (.onnx)",
    'landmark_weights': "LMD: facexlib's alignment_WFLW_4HG.pth (default: 68 points, which ship)",
}


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    what = p.add_argument_group('what is scored: folders of any project, or a model')
    what.add_argument('--pred', nargs='+', metavar='[NAME=]DIR', help='restored photos, named as the ground truth')
    what.add_argument('--pred_suffix', nargs='+', default=[''], metavar='S', help='what may follow the stem: _00')
    what.add_argument('--opt', metavar='X.yml', help='option file of `basicsr test`: runs its model')
    what.add_argument('--arms', nargs='+', choices=ARMS, default=list(ARMS), help='of --opt (default: all)')
    what.add_argument('--force_yml', nargs='+', default=[], metavar='a:b=value', help='as of `basicsr test`')
    shared(what, '--import')
    data = p.add_argument_group('the test set of --pred')
    data.add_argument('--gt', type=Path, metavar='DIR', help='ground truth; without it: ID-Ref and NIQE only')
    data.add_argument('--lq', type=Path, metavar='DIR', help='degraded photos, for the pictures')
    data.add_argument('--mapping', type=Path, metavar='CSV', help='references by a csv of the form of FFHQ-Ref')
    data.add_argument('--refs', type=Path, metavar='DIR', help='references: by --mapping, else <stem>.* or <stem>/*')
    data.add_argument('--wrong', type=Path, metavar='DIR', help='references of another person: <stem>.* or <stem>/*')
    data.add_argument('--num_refs', type=at_least(1), default=1, metavar='K', help='the first K references (1)')
    data.add_argument('--people', type=Path, metavar='CSV', help='columns image, identity: who is on which photo')
    data.add_argument('--regions', type=Path, metavar='DIR', help='masks for the metric detail (default: face oval)')
    data.add_argument('--size', type=at_least(1), metavar='S', help='bring ground truth and references to S pixels')
    data.add_argument('--name', help='name of the test set')
    how = p.add_argument_group('measures; a file that is not given is a score that is not measured')
    how.add_argument('--id_protocol', '--id-protocol', help='refldm (default), gfpgan, vqfr, insightface ...')
    for key, text in WEIGHTS.items():
        how.add_argument(f'--{key}', metavar='FILE', help=text)
    how.add_argument('--lpips_net', choices=['vgg', 'alex', 'squeeze'], help='default: vgg')
    how.add_argument('--crop_border', type=at_least(0), metavar='N', help='for PSNR, SSIM, NIQE (default: 0)')
    text = 'strongest down-sampling factor, for detail (default: side / 16)'
    how.add_argument('--down', type=at_least(1.01, float), help=text)
    shared(how, '--device')
    how.add_argument('--resamples', type=at_least(1), default=10_000, metavar='N', help='of the bootstrap (10000)')
    how.add_argument('--seed', type=at_least(0), default=0, metavar='N', help='of the bootstrap (0)')
    text = 'default: results/evaluate'
    p.add_argument('--out', type=Path, default=Path('results/evaluate'), metavar='DIR', help=text)


def run(args: Namespace) -> None:
    """Check which arguments go together, then score.

    Raises:
        RefStarError: wrong input.
    """
    if bool(args.opt) == bool(args.pred):
        raise RefStarError('give either --opt (a model to run), or --pred (folders of restored photos)')
    parser = CommandParser()
    add_arguments(parser)
    others = {key: key for key in OF_FOLDERS.split()} if args.opt else OF_MODEL
    if extra := [f'--{flag}' for key, flag in others.items() if getattr(args, key) != parser.get_default(key)]:
        which = '--opt, whose option file names the test sets' if args.opt else '--pred: of a model to run (--opt)'
        raise RefStarError(f'{", ".join(extra)}: not with {which}')
    import_modules(args.modules)
    import basicsr  # noqa: F401  (registers everything)

    if args.opt:
        score_model(args)
    else:
        score_folders(args)


def score_model(args: Namespace) -> None:
    """Run the arms of `--opt`, then score the folders that they left."""
    from refstar.evaluation.measures import build_measures
    from refstar.evaluation.run_model import read_test, run_model, settings_of

    opt = read_test(args.opt, args.force_yml)
    val = opt.get('val') or {}
    build_measures(settings(args, settings_of(val)))  # a wrong file is an error before the model runs
    asked = {name: metric['type'] for name, metric in (val.get('metrics') or {}).items()}
    for testset, folders, named, out in run_model(opt, args.arms, args.out):
        score(args, testset, folders, out, named, asked)


def score_folders(args: Namespace) -> None:
    """Score the folders of `--pred`."""
    from refstar.evaluation.testset import Folders, read_testset

    folders = Folders(**{f.name: getattr(args, f.name) for f in fields(Folders)})
    score(args, read_testset(folders, args.num_refs, args.name), methods(args.pred), args.out)


def methods(given: list[str]) -> dict[str, Path]:
    """Read `NAME=DIR` or `DIR`, whose name is then the method's.

    Raises:
        RefStarError: two of one name.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition('=')
        path = Path(folder if equals else text)
        name = name if equals else path.name
        if not name or name in found or name in PANELS:
            raise RefStarError(f'--pred {text}: name every method once, NAME=DIR, and not {", ".join(PANELS)}')
        found[name] = path
    return found


def settings(args: Namespace, named: dict[str, Any]) -> Any:
    """Return the settings of the measures: the flags, else what an option file names."""
    from refstar.evaluation.measures import MeasureSettings
    from refstar.utils.device import choose_device

    given = {f.name: getattr(args, f.name, None) for f in fields(MeasureSettings)}
    given |= {'device': choose_device(args.device or named.get('device'))}
    return MeasureSettings(**{**named, **{k: v for k, v in given.items() if v is not None}})


def score(
    args: Namespace, testset: Any, folders: dict[str, Path], out: Path, named: Mapping = {}, asked: Mapping = {}
) -> None:
    """Measure, write tables and report, print the figures.

    ``named`` are settings, and ``asked`` metrics (name -> type), of an option file.
    """
    from refstar.evaluation.evaluation_report import write_evaluation_report
    from refstar.evaluation.measures import build_measures
    from refstar.evaluation.score_tables import summarise_scores, terminal_text, write_tables
    from refstar.evaluation.scores import score_all
    from refstar.evaluation.testset import find_predictions

    chosen = settings(args, named)
    predictions = {name: find_predictions(path, testset.samples, args.pred_suffix) for name, path in folders.items()}
    measures, absent = build_measures(chosen, testset.has_gt)
    about = {', '.join(m.columns): m.about for m in measures}
    scores = score_all(testset, predictions, measures, args.size)
    absent['fid, musiq'] = 'not part of this command; pyiqa measures them on the same folders'
    known = {*scores.columns, *', '.join(absent).split(', ')}
    for name, kind in asked.items():
        if kind.removeprefix('calculate_') not in known:
            absent[name] = f'{kind} is not part of this command; `basicsr test` reports it'
    summary = summarise_scores(scores, testset, args.resamples, args.seed, about, absent)
    write_tables(scores, summary, out)
    page = write_evaluation_report(scores, testset, predictions, summary, out, args.size)
    print(terminal_text(summary), page, sep='\n')


main = command('refstar evaluate', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
