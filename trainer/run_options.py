"""Schema of an option file: the blocks that every run has.

A model class of this project adds its own keys by a class `Options` inside it, a dataset class likewise
(:mod:`refstar.utils.option_block`). :mod:`option_check` puts them together.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from refstar.utils.option_block import (
    AnyKey,
    Block,
    Count,
    Expected,
    Iterations,
    Names,
    Natural,
    Number,
    Numbers,
    OptionBlock,
    Size,
    as_whole,
)


def _folder_name(name: str) -> str:
    if name in ('', '.', '..') or '/' in name or '\\' in name:
        raise ValueError
    return name


class Named(OptionBlock):
    """A block with the name of a class or function; the other keys are its arguments."""

    type: str = Field(description='name of the class or function; the other keys are its arguments')


class Built(Named, AnyKey):
    """The same before it is known which arguments there are."""


class Metric(Named):
    """A metric: its function and the arguments of that function."""

    better: Literal['higher', 'lower'] = Field('higher', description='which figures are better')


class Optimizer(Named):
    """An optimizer: its class and the arguments of that class."""

    type: str = Field(description='any of `torch.optim`, whose other arguments may follow')
    lr: Size = Field(description='learning rate')
    weight_decay: Size | None = Field(None, description='argument of many')
    betas: Numbers | None = Field(None, description='argument of Adam and similar ones')


class Scheduler(Named):
    """The learning rate over the training."""

    type: str = Field(description='MultiStepLR or CosineAnnealingRestartLR')
    milestones: Numbers | None = Field(None, description='of MultiStepLR: iterations')
    gamma: Number | None = Field(None, description='of MultiStepLR: factor at each of them')
    periods: Numbers | None = Field(None, description='of CosineAnnealingRestartLR: iterations of each cosine')
    restart_weights: Numbers | None = Field(None, description='of CosineAnnealingRestartLR: factor on each of them')
    eta_min: Size | None = Field(None, description='of CosineAnnealingRestartLR: smallest learning rate')


Networks = Annotated[
    bool | list[str],
    Expected('true (all trained networks) or a list of them, e.g. [g, d] for network_g and network_d'),
]


class Train(OptionBlock):
    """Block `train`, for every model."""

    total_iter: Iterations = Field(description='iterations of the training')
    warmup_iter: Annotated[int, BeforeValidator(as_whole), Field(ge=-1), Expected('a whole number from -1')] = Field(
        -1, description='iterations over which the learning rate grows from 0; -1: none'
    )
    scheduler: Built = Field(description='learning rate: `type` and its arguments')
    ema_decay: Annotated[float, Field(ge=0, lt=1), Expected('a number from 0, below 1')] = Field(
        0, description='decay of the moving average of the weights, which is what is tested; 0: none'
    )
    amp: Literal['bf16', 'fp16'] | None = Field(
        None,
        description='mixed precision: forward passes in this type, weights and optimizers in float32. fp16 scales the '
        'loss; only models of this project have it',
    )
    tf32: bool | None = Field(None, description='float32 products of CUDA devices in TF32; `~`: as torch has it')
    channels_last: Networks | None = Field(
        None,
        description='networks in the memory format that convolutions prefer (not GFPGAN: its forward takes no other)',
    )
    compile: Networks | None = Field(None, description='networks, or modules of them (g.refsel), for torch.compile')
    compile_kwargs: Block | None = Field(None, description='arguments of torch.compile, e.g. {mode: max-autotune}')
    grad_clip: Size | None = Field(
        None, description="largest norm of net_g's gradient, logged as grad_norm (default 0: no clipping)"
    )
    nonfinite_limit: Count | None = Field(
        None,
        description='the run stops, with a checkpoint, after so many skipped steps in a row; a step is skipped if a '
        'gradient is not finite (default 10; looked at every print_freq iterations)',
    )


class Val(OptionBlock):
    """Block `val`, for every model."""

    val_freq: Iterations | None = Field(None, description='validate every so many iterations')
    save_img: bool | None = Field(None, description='write pictures')
    suffix: str | None = Field(None, description="of the pictures' names in a test (default: name of the run)")
    pbar: bool | None = Field(None, description='progress bar')
    metrics: Annotated[dict[str, dict[str, Any]], Expected('a block of blocks')] | None = Field(
        None, description='blocks by name, each with `type`, its arguments, and `better: higher` (default) or `lower`'
    )


class Wandb(OptionBlock):
    """Weights & Biases."""

    project: str | None = Field(None, description='its name; `~` for none')
    resume_id: str | None = Field(None, description='run to resume')


class Logger(OptionBlock):
    """Block `logger`."""

    print_freq: Iterations = Field(description='print the losses every so many iterations')
    save_checkpoint_freq: Iterations = Field(description='save a checkpoint every so many iterations')
    use_tb_logger: bool | None = Field(None, description='also write for TensorBoard, into `tb_logger/<name>`')
    wandb: Wandb | None = Field(None, description='Weights & Biases')
    keep_last: Count | None = Field(None, description='latest checkpoints to keep (default: all)')


class Dist(OptionBlock):
    """Block `dist_params`."""

    backend: str | None = Field(None, description='nccl (default) or gloo; without CUDA always gloo')
    port: Count | None = Field(None, description='of the first process, under Slurm (default: MASTER_PORT, or 29500)')


class Path(OptionBlock):
    """Block `path`; every `network_x` of the model adds pretrain_network_x, param_key_x and strict_load_x."""

    resume_state: str | None = Field(None, description='training state to resume; `--auto_resume` finds the latest')
    ignore_resume_networks: Names | None = Field(
        None, description='networks that keep their `pretrain_network_*` when a run is resumed'
    )


class TopLevel(OptionBlock):
    """Top level of an option file, for every model."""

    name: Annotated[
        str,
        AfterValidator(_folder_name),
        Expected("the name of a folder (a number in quotes: '1')"),
    ] = Field(
        description='name of the run: its folders are `experiments/<name>`, `results/<name>`; with `debug` in it, '
        'every iteration is logged, and every 8th saved and validated'
    )
    model_type: str = Field(description='class of the model')
    num_gpu: Annotated[Literal['auto'] | Natural, Expected('auto or a whole number from 0')] = Field(
        'auto', description='GPUs of this process; `auto`: all; 0: CPU'
    )
    manual_seed: Annotated[int, Field(ge=0, lt=2**31), Expected('a whole number from 0, below 2^31')] | None = Field(
        None, description='seed of everything (default: drawn, and saved in the checkpoints)'
    )
    scale: Count | None = Field(None, description='up-sampling factor, handed on to every dataset')
    datasets: Block = Field(description='blocks `train`, `val`, `val_2`, or `test`, `test_2`')
    path: Block | None = Field(None, description='weights to begin with, state to resume')
    train: Block | None = Field(None, description='the training; without it: a test')
    val: Block | None = Field(None, description='validation, or the test')
    logger: Block | None = Field(None, description='printing and saving')
    dist_params: Dist | None = Field(None, description='of several processes')
    find_unused_parameters: bool | None = Field(
        None, description="argument of DistributedDataParallel, for BasicSR's own models"
    )
