"""Our training step against the stock one: GFPGANModel on BasicSR, the same network, batch and losses.

    python benchmarks/train_speed.py --device cuda --batch 4                          # on a GPU
    python benchmarks/train_speed.py --losses pixel pyramid gan --arms stock off --rounds 3   # on a CPU, some minutes

Arms, which take a step each in every round, in alternating order:

* `stock`: GFPGANModel with BasicSR's own base class: its Adam, its EMA, its log, which waits for the device in every
  step. Mended is only what keeps it from running: betas, and the discriminator, which needs a compiled CUDA operator
  (StyleGAN2DiscriminatorClean in all arms, the same weights and values).
* `off`: the same model in our trainer, every switch off.
* `refstar`: RefSTAR on the same network with one reference per photo, without the cycle pass; bf16, channels_last and,
  on a GPU, torch.compile where the code is made for it.

Losses of all arms: pixel (L1), pyramid (L1), perceptual (VGG19, random weights: the time does not depend on them) and
adversarial, as in GFPGAN's recipe, on random images. Left out in all, for they need files: facial components
(landmarks) and identity (ArcFace). `refstar` also has its own selection and correspondence losses. R1 falls into every
16th iteration; the timed ones are others. Loading of data is not part of a step.

Reported: the median over rounds of the ratio to `stock` in the same round, with its range; images/s; memory; and the
share of the roofline, see roofline.py.
"""

import refstar  # isort: skip  # noqa: F401, before basicsr, which it mends
import argparse
import copy
import importlib.util
import json
import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import basicsr.models.base_model
import torch
from basicsr.archs import vgg_arch
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from gfpgan.models.gfpgan_model import GFPGANModel
from overhead import NETWORK
from roofline import Stopwatch, best, count, share

ARMS = ('stock', 'off', 'refstar')
LOSSES = ('pixel', 'pyramid', 'perceptual', 'gan')
SMALL = {'out_size': 32, 'num_style_feat': 32, 'channel_multiplier': 1, 'narrow': 0.0625, 'num_mlp': 2}
L1 = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
VGG = {
    'type': 'PerceptualLoss',
    'layer_weights': {'conv1_2': 0.1, 'conv2_2': 0.1, 'conv3_4': 1, 'conv4_4': 1, 'conv5_4': 1},
    'vgg_type': 'vgg19',
    'style_weight': 50,
    'range_norm': True,
    'criterion': 'l1',
}
WANTED = {'off': 'at least 1', 'refstar': 'at least 2 on an H100 at 512 px, batch 4'}


def networks(size: int, small: bool) -> dict[str, dict]:
    """Options of the networks: GFPGANv1Clean as released, or narrow."""
    backbone = {**NETWORK['backbone'], 'out_size': size, **(SMALL if small else {})}
    discriminator = {'type': 'StyleGAN2DiscriminatorClean', 'out_size': size, 'channel_multiplier': 1}
    whole = {'type': 'RefSTAR', 'size': size, 'backbone': backbone}
    if small:
        discriminator['narrow'] = SMALL['narrow']
        whole.update(refsel={'size': 32, 'channels': 8}, ref_channels=8, structure_size=8)
    return {'backbone': backbone, 'd': discriminator, 'refstar': whole}


def options(arm: str, nets: dict[str, dict], losses: list[str], device: torch.device, compiled: list[str]) -> dict:
    """Options of an arm, as BasicSR's pipeline hands them to a model."""
    adam = {'type': 'Adam', 'lr': 2e-3}
    train = {
        'optim_g': dict(adam),
        'optim_d': dict(adam),
        'scheduler': {'type': 'MultiStepLR', 'milestones': [10**6]},
        'gan_opt': {'type': 'GANLoss', 'gan_type': 'wgan_softplus', 'loss_weight': 0.1},
        'r1_reg_weight': 10,
        'net_d_reg_every': 16,
        'pixel_opt': {**L1, 'loss_weight': 0.1} if 'pixel' in losses else None,
        'perceptual_opt': VGG if 'perceptual' in losses else None,
    }
    if arm == 'refstar':
        train.update(
            optim_g={**adam, 'betas': [0.0, 0.99]},
            optim_d={**adam, 'betas': [0.0, 0.99]},
            ema_decay=0.998,
            backbone_kwargs={'return_rgb': 'pyramid' in losses},
            pyramid_opt=L1 if 'pyramid' in losses else None,
            selection_opt={'type': 'SelectionLoss', 'loss_weight': 0.1},
            correspondence_opt={'type': 'CorrespondenceLoss', 'loss_weight': 0.1},
            amp='bf16',
            channels_last=['d', 'g.refsel', 'g.ref_encoder'],
            compile=compiled,
        )
    else:
        train.update(L1_opt=L1, pyramid_loss_weight=1.0 if 'pyramid' in losses else 0)
    opt = {
        'model_type': 'RefSTARModel' if arm == 'refstar' else 'GFPGANModel',
        'network_g': nets['refstar' if arm == 'refstar' else 'backbone'],
        'network_d': nets['d'],
        'path': {},
        'logger': {},
        'train': train,
        'num_gpu': int(device.type == 'cuda'),
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'manual_seed': 0,
    }
    return copy.deepcopy(opt)


def stock_class() -> type[BaseModel]:
    """GFPGANModel on BasicSR's base class as it is on disk, without what this project puts in place of its methods."""
    spec = importlib.util.spec_from_file_location('stock_base_model', basicsr.models.base_model.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def get_optimizer(self: BaseModel, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Adam:
        return torch.optim.Adam(params, lr, betas=tuple(map(float, kwargs['betas'])))

    methods = ('model_ema', 'reduce_loss_dict', 'get_current_log', 'update_learning_rate', 'model_to_device')
    own = {name: vars(module.BaseModel)[name] for name in methods}
    return type('StockGFPGANModel', (GFPGANModel,), {**own, 'get_optimizer': get_optimizer})


@contextmanager
def random_vgg() -> Iterator[None]:
    """While open, BasicSR's VGG19 finds a file of random weights, and downloads none."""
    from torchvision.models import vgg19

    with tempfile.TemporaryDirectory() as folder:
        plain, vgg_arch.VGG_PRETRAIN_PATH = vgg_arch.VGG_PRETRAIN_PATH, f'{folder}/vgg19.pth'
        torch.save(vgg19(weights=None).state_dict(), vgg_arch.VGG_PRETRAIN_PATH)
        try:
            yield
        finally:
            vgg_arch.VGG_PRETRAIN_PATH = plain


def build(arm: str, opt: dict) -> BaseModel:
    """The model of an arm; the weights of the same network are the same in all arms."""
    torch.manual_seed(0)
    model = stock_class()(opt) if arm == 'stock' else build_model(opt)
    model.get_bare_model(model.net_g).train()
    return model


def batch(size: int, count: int) -> dict[str, Any]:
    """Random images, each with one reference whose selection and flow are known."""
    generator = torch.Generator().manual_seed(0)
    lq, gt, ref = (torch.rand(count, 3, size, size, generator=generator) * 2 - 1 for _ in range(3))
    ones = torch.ones(count, 1, 1, size, size)
    return {
        'lq': lq,
        'gt': gt,
        'refs': ref[:, None],
        'ref_valid': torch.ones(count, 1, dtype=torch.bool),
        'ref_mask': ones,
        'gt_mask': ones,
        'mask_known': torch.ones(count, 1, dtype=torch.bool),
        'flow': torch.rand(count, 1, 2, size, size, generator=generator) * 2 - 1,
        'flow_valid': ones,
        'identity': [str(i) for i in range(count)],
    }


def stepper(model: BaseModel, data: dict[str, Any]) -> Callable[[], None]:
    """What BasicSR's loop does in an iteration, between loading and logging; iterations without R1."""
    numbers = (i for i in range(1, 10**9) if i % 16)

    def step() -> None:
        number = next(numbers)
        model.update_learning_rate(number, warmup_iter=-1)
        model.feed_data(data)
        model.optimize_parameters(number)

    return step


def measure(arms: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Times the arms.

    Args:
        arms: `stock` and others.
        args: of the command line.
    """
    device, nets = args.device, networks(args.size, args.small)
    watch, data = Stopwatch(device), batch(args.size, args.batch)
    compiled = args.compile if args.compile is not None else ['g.refsel', 'g.ref_encoder'] * (device.type == 'cuda')
    with random_vgg() if 'perceptual' in args.losses else nullcontext():
        models = {arm: build(arm, options(arm, nets, args.losses, device, compiled)) for arm in arms}
    steps = {arm: stepper(model, data) for arm, model in models.items()}
    work = {arm: count(models[arm], steps[arm]) for arm in arms}  # the first step, which also makes the moments
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    extra = dict.fromkeys(arms, 0)  # bytes of a GPU beyond what all models hold
    for i in range(args.warm_up + args.rounds):
        for arm in arms[:: 1 if i % 2 == 0 else -1]:
            if device.type == 'cuda':
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
            spent = watch(steps[arm])
            if i >= args.warm_up:
                seconds[arm].append(spent)
            if device.type == 'cuda':
                extra[arm] = max(extra[arm], torch.cuda.max_memory_allocated(device) - before)
        print(f'round {i + 1} of {args.warm_up + args.rounds}', flush=True)
    types = {arm: torch.bfloat16 if arm == 'refstar' else torch.float32 for arm in arms}
    peaks = {dtype: best(device, dtype) for dtype in set(types.values())}
    result = {}
    for arm in arms:
        speedups = [a / b for a, b in zip(seconds['stock'], seconds[arm], strict=True)]
        bytes_ = work[arm].held + (extra[arm] if device.type == 'cuda' else work[arm].kept)
        result[arm] = {
            'seconds': seconds[arm],
            'images_per_s': args.batch / statistics.median(seconds[arm]),
            'speedup': {'median': statistics.median(speedups), 'range': [min(speedups), max(speedups)]},
            'work': asdict(work[arm]),
            'memory_bytes': bytes_,
            'peak_flops': peaks[types[arm]][0],
            'peak_bytes_per_s': peaks[types[arm]][1],
            'share_of_roofline': share(work[arm], seconds[arm], peaks[types[arm]]),
            'losses': sorted(name for name in models[arm].log_dict if name.startswith('l_')),
        }
    return result


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--device', type=torch.device, default=torch.device('cpu'))
    p.add_argument('--size', type=int, default=512)
    p.add_argument('--batch', type=int, default=1)
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--warm-up', type=int, default=0, help='rounds before them; a first step is always taken')
    p.add_argument('--arms', nargs='+', choices=ARMS, default=list(ARMS), help='stock is always among them')
    p.add_argument('--losses', nargs='+', choices=LOSSES, default=list(LOSSES), help='gan is always among them')
    p.add_argument('--compile', nargs='*', metavar='g.X', help='modules of refstar to compile (default: on a GPU)')
    p.add_argument('--small', action='store_true', help='narrow networks of 32 pixels, to try it out')
    p.add_argument('--out', type=Path, default=Path('train_speed.json'))
    return p


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    logging.getLogger('basicsr').setLevel(logging.WARNING)
    torch.backends.cudnn.benchmark = True  # as BasicSR's pipeline
    if args.small:
        args.size, args.losses = SMALL['out_size'], [name for name in args.losses if name != 'perceptual']
    arms = [arm for arm in ARMS if arm in {'stock', *args.arms}]
    result = measure(arms, args)
    on_gpu = args.device.type == 'cuda'
    where = torch.cuda.get_device_name(args.device) if on_gpu else f'CPU, {torch.get_num_threads()} threads'
    settings = {'device': where, 'torch': torch.__version__, 'size': args.size, 'batch': args.batch}
    args.out.write_text(json.dumps({**settings, 'rounds': args.rounds, 'arms': result}, indent=2))
    print(
        f'{where}, {args.size} px, batch {args.batch}, {args.rounds} rounds, {"wall" if on_gpu else "processor"} time'
    )
    for arm, row in result.items():
        low, high = row['speedup']['range']
        print(
            f'{arm:<9}{row["images_per_s"]:9.3f} images/s  {row["speedup"]["median"]:.3f} x stock ({low:.3f} to '
            f'{high:.3f}){f", wanted: {WANTED[arm]}" if arm in WANTED else ""}\n'
            f'{"":<9}{row["work"]["flops"] / 1e12:9.3f} TFLOP, {row["work"]["moved"] / 2**30:.2f} GiB moved at least, '
            f'{row["share_of_roofline"]:.1%} of the roofline ({row["peak_flops"] / 1e12:.3f} TFLOP/s, '
            f'{row["peak_bytes_per_s"] / 1e9:.1f} GB/s)\n'
            f'{"":<9}{row["memory_bytes"] / 2**30:9.2f} GiB {"peak" if on_gpu else "held and kept, counted"}; losses: '
            + ', '.join(row['losses'])
        )
    print(args.out)


if __name__ == '__main__':
    main()
