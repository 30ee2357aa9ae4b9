"""Logs of trainings, written as BasicSR writes them."""

from pathlib import Path

STAMP = '2026-11-21 10:00:00,000 INFO: '


def write_log(
    folder: Path,
    iterations: range,
    validated: dict[int, dict[str, dict[str, float]]] | None = None,
    time: str = '20261121_100000',
    val_freq: int = 4,
    factor: float = 1.0,
    ended: bool = False,
) -> None:
    """Write the log of a run; `validated`: iteration -> data set -> metric -> figure."""
    lines = [f'{STAMP}\n  train:[\n    total_iter: 12\n  ]\n  val:[\n    val_freq: {val_freq}\n  ]']
    lines.append(f'{STAMP}Start training from epoch: 0, iter: {iterations.start - iterations.step}')
    left = dict(validated or {})

    def validate(last: int) -> None:
        for at in [at for at in left if at <= last]:
            lines.extend(_validation(name, figures) for name, figures in left.pop(at).items())

    for i in iterations:
        validate(i - 1)
        terms = f'l_pix: {factor / i:.4e} l_g_gan: {-factor:.4e} l_d: 1.3000e+00 grad_norm: 2.0000e+00 '
        lines.append(f'{STAMP}[a_run..][epoch:  0, iter:{i:8,d}, lr:(1.000e-03,)] [eta: 0:00:01, time] {terms}')
    validate(12)
    if ended:
        lines.append(f'{STAMP}End of training. Time consumed: 0:00:09')
        validate(13)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'train_{folder.name}_{time}.log').write_text('\n'.join(lines) + '\n')


def _validation(name: str, figures: dict[str, float]) -> str:
    rows = [f'\t # {metric}: {value:.4f}\tBest: 99.0000 @ 4 iter' for metric, value in figures.items()]
    return '\n'.join([f'{STAMP}Validation {name}', *rows, ''])


def psnr(*iterations: int, name: str = 'val') -> dict:
    """Validations of one figure, 20 + iteration."""
    return {i: {name: {'psnr': 20 + i}} for i in iterations}


def arms(shift: float = 0) -> dict:
    """Validations with three arms."""
    figures = {'right_psnr': 25 + shift, 'none_psnr': 23 + shift, 'wrong_psnr': 22 + shift}
    return {i: {'val': {name: value + i / 4 for name, value in figures.items()}} for i in (4, 8, 12)}
