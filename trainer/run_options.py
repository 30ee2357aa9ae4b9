"""Schema of an option file: the blocks that every run has, and the keys of the models of BasicSR and GFPGAN.

A model class of this project adds its own keys by a class `Options` inside it, a dataset class likewise
(:mod:`refstar.utils.option_block`). :mod:`option_check` puts them together.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from refstar.utils.option_block import (
    Block,
    Count,
    Expected,
    Iterations,
    IterationsFrom0,
    Names,
    Natural,
    Number,
    Numbers,
    OptionBlock,
    Size,
)


def _folder_name(name: str) -> str:
    if name in ('', '.', '..') or '/' in name or '\\' in name:
        raise ValueError
    return name


class Network(OptionBlock):
    """A network: its class and the arguments of that class."""

    model_config = ConfigDict(extra='allow')
    type: str = Field(description='class of the network; the other keys are its arguments')


class Loss(OptionBlock):
    """A loss: its class and the arguments of that class."""

    model_config = ConfigDict(extra='allow')
    type: str = Field(description='class of the loss; the other keys are its arguments')
    loss_weight: Number | None = Field(None, description='factor on the loss, where the class takes it')


class Metric(OptionBlock):
    """A metric: its function and the arguments of that function."""

    model_config = ConfigDict(extra='allow')
    type: str = Field(description='name of the function; the other keys are its arguments')
    better: Literal['higher', 'lower'] = Field('higher', description='which figures are better')


class Optimizer(OptionBlock):
    """An optimizer: its class and the arguments of that class."""

    model_config = ConfigDict(extra='allow')
    type: str = Field(description='any of `torch.optim`, whose other arguments may follow')
    lr: Size = Field(description='learning rate')
    weight_decay: Size | None = Field(None, description='argument of many')
    betas: Numbers | None = Field(None, description='argument of Adam and similar ones')


class Scheduler(OptionBlock):
    """The learning rate over the training."""

    model_config = ConfigDict(extra='allow')
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
    warmup_iter: Annotated[
        int, BeforeValidator(lambda x: int(x) if x == -1.0 else x), Field(ge=-1), Expected('a whole number from -1')
    ] = Field(-1, description='iterations over which the learning rate grows from 0; -1: none')
    scheduler: Scheduler | None = Field(None, description='learning rate: `type` and its arguments')
    ema_decay: Annotated[float, Field(ge=0, lt=1), Expected('a number from 0, below 1')] = Field(
        0, description='decay of the moving average of the weights, which is what is tested; 0: none'
    )
    amp: Literal['bf16', 'fp16'] | None = Field(
        None,
        description='mixed precision: forward passes in this type, weights and optimizers in float32. fp16 scales the '
        'loss; only models of this project have it',
    )
    tf32: bool | None = Field(None, description='float32 products of CUDA devices in TF32; `~`: as torch has it')
    channels_last: Networks | None = Field(None, description='networks in the memory format that convolutions prefer')
    compile: Networks | None = Field(None, description='networks, or modules of them (g.refsel), for torch.compile')
    compile_kwargs: Block | None = Field(None, description='arguments of torch.compile, e.g. {mode: max-autotune}')
    accumulate: Count | None = Field(
        None,
        description='batches of batch_size_per_gpu per iteration; their gradients are averaged: the step of a large '
        'batch in the memory of a small one (default 1)',
    )
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
    keep_last: Count | None = Field(
        None, description='latest checkpoints to keep (default: all); best and latest ones do not count'
    )
    keep_best: str | None = Field(
        None, description='metric of val.metrics: networks of the best validation are kept as net_*_best.pth'
    )


class Dist(OptionBlock):
    """Block `dist_params`."""

    backend: str | None = Field(None, description='nccl (default) or gloo; without CUDA always gloo')
    port: Count | None = Field(
        None, description='of the first process, under Slurm (default: MASTER_PORT, or from the number of the job)'
    )


class Path(OptionBlock):
    """Block `path`; every `network_x` of the model adds pretrain_network_x, param_key_x and strict_load_x."""

    resume_state: str | None = Field(None, description='training state to resume; `--auto_resume` finds the latest')
    ignore_resume_networks: Names | None = Field(
        None, description='networks that keep their `pretrain_network_*` when a run is resumed'
    )


class Run(OptionBlock):
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


# --------------------------------------------------------------------- models of BasicSR and GFPGAN
STOCK_KEYS: dict[str, tuple[Any, str]] = {  # key -> its type and what it does
    'network_g': (Network, 'the network: `type` and its arguments'),
    'network_d': (Network, 'its discriminator: `type` and its arguments'),
    'network_d_left_eye': (Network, 'discriminator of left eyes; needs the other two and `crop_components`'),
    'network_d_right_eye': (Network, 'discriminator of right eyes'),
    'network_d_mouth': (Network, 'discriminator of mouths'),
    'network_identity': (Network, 'face recognition network of the identity loss'),
    'train.optim_g': (Optimizer, 'optimizer of network_g'),
    'train.optim_d': (Optimizer, 'optimizer of network_d'),
    'train.optim_component': (Optimizer, 'optimizer of the discriminators of eyes and mouth'),
    'train.pixel_opt': (Loss, 'loss between output and GT'),
    'train.perceptual_opt': (Loss, 'perceptual and style loss'),
    'train.gan_opt': (Loss, 'adversarial loss'),
    'train.ldl_opt': (Loss, 'loss of local artifacts (LDL)'),
    'train.feature_matching_opt': (Loss, 'loss between features of the discriminator'),
    'train.L1_opt': (Loss, 'the L1 of pyramid, components and identity'),
    'train.gan_component_opt': (Loss, 'adversarial loss of eyes and mouth'),
    'train.comp_style_weight': (Number, 'factor on the style loss of eyes and mouth (default 0)'),
    'train.identity_weight': (Number, 'factor on the identity loss'),
    'train.pyramid_loss_weight': (Number, 'factor on the loss of the pyramid (default 0)'),
    'train.remove_pyramid_loss': (Number, 'last iteration of the pyramid loss (default: all)'),
    'train.net_d_iters': (Iterations, 'network_g is trained every so many iterations (default 1)'),
    'train.net_d_init_iters': (IterationsFrom0, 'network_d is trained alone for so many iterations (default 0)'),
    'train.net_d_reg_every': (Iterations, 'R1 every so many iterations'),
    'train.net_g_reg_every': (Iterations, 'path length penalty every so many iterations'),
    'train.r1_reg_weight': (Number, 'factor on the R1 penalty of network_d'),
    'train.path_reg_weight': (Number, 'factor on the path length penalty of network_g'),
    'train.path_batch_shrink': (Count, 'the path length penalty takes the batch divided by this'),
    'train.mixing_prob': (Number, 'share of samples with two styles'),
    'train.dcn_lr_mul': (Number, 'factor on the learning rate of deformable convolutions'),
    'train.tsa_iter': (IterationsFrom0, 'iterations in which only the module TSA is trained'),
    'train.fix_flow': (IterationsFrom0, 'iterations in which the optical flow is not trained'),
    'train.flow_lr_mul': (Number, 'factor on the learning rate of the optical flow'),
    'train.lr_flow': (Number, 'learning rate of the optical flow'),
    'val.num_val_samples': (Count, 'how many pictures are drawn (default 16)'),
    'val.center_frame_only': (bool, 'figures of the middle frame alone'),
    'val.flip_seq': (bool, 'sequences are mirrored in time to twice their length'),
    'gt_size': (Count, 'side of the crop of GT, in pixels'),
    'queue_size': (Count, 'samples in the pool of which batches are drawn'),
    'high_order_degradation': (bool, 'the two-fold degradation of Real-ESRGAN (default true)'),
    'gt_usm': (bool, 'GT is sharpened'),
    'l1_gt_usm': (bool, 'GT of the pixel loss is sharpened'),
    'percep_gt_usm': (bool, 'GT of the perceptual loss is sharpened'),
    'gan_gt_usm': (bool, 'GT of the adversarial loss is sharpened'),
    'second_blur_prob': (Number, 'share of samples that are blurred twice'),
    **{
        f'{name}{again}': (kind, text + (', the second time' if again else ''))
        for again in ('', '2')
        for name, kind, text in (
            ('resize_prob', Numbers, 'shares of samples that are enlarged, made smaller, kept'),
            ('resize_range', Numbers, 'range of that factor'),
            ('gaussian_noise_prob', Number, 'share of samples with Gaussian noise; the others get Poisson noise'),
            ('noise_range', Numbers, 'range of the standard deviation, of 255'),
            ('poisson_scale_range', Numbers, 'range of the scale of Poisson noise'),
            ('gray_noise_prob', Number, 'share of samples with grey noise'),
            ('jpeg_range', Numbers, 'range of the JPEG quality'),
        )
    },
}
_GAN = 'network_d train.optim_d train.gan_opt train.net_d_iters train.net_d_init_iters'
_DEGRADED = (
    'gt_size queue_size high_order_degradation second_blur_prob resize_prob resize_range gaussian_noise_prob '
    'noise_range poisson_scale_range gray_noise_prob jpeg_range resize_prob2 resize_range2 '
    'gaussian_noise_prob2 noise_range2 poisson_scale_range2 gray_noise_prob2 jpeg_range2'
)
# Model class -> keys that it reads beyond those of its bases. VideoBaseModel, SwinIRModel ... read none.
STOCK_MODELS = {
    'SRModel': 'network_g train.optim_g train.pixel_opt train.perceptual_opt',
    'SRGANModel': f'{_GAN} train.ldl_opt',
    'RealESRNetModel': f'gt_usm {_DEGRADED}',
    'RealESRGANModel': f'l1_gt_usm percep_gt_usm gan_gt_usm {_DEGRADED}',
    'EDVRModel': 'train.dcn_lr_mul train.tsa_iter',
    'VideoRecurrentModel': 'train.fix_flow train.flow_lr_mul val.center_frame_only val.flip_seq',
    'VideoRecurrentGANModel': f'{_GAN} train.fix_flow train.lr_flow',
    'HiFaceGANModel': f'{_GAN} train.feature_matching_opt',
    'StyleGAN2Model': 'network_g network_d train.optim_g train.optim_d train.gan_opt train.net_d_reg_every '
    'train.net_g_reg_every train.r1_reg_weight train.path_reg_weight train.path_batch_shrink train.mixing_prob '
    'val.num_val_samples',
    'GFPGANModel': f'network_g {_GAN} network_d_left_eye network_d_right_eye network_d_mouth network_identity '
    'train.optim_g train.optim_component train.pixel_opt train.perceptual_opt train.L1_opt train.gan_component_opt '
    'train.comp_style_weight train.identity_weight train.net_d_reg_every train.pyramid_loss_weight '
    'train.r1_reg_weight train.remove_pyramid_loss',
}
_REDS = (
    'dataroot_gt dataroot_lq dataroot_flow gt_size interval_list meta_info_file num_frame random_reverse test_mode '
    'use_hflip use_rot val_partition'
)
_VIDEO = 'cache_data dataroot_gt dataroot_lq meta_info_file num_frame padding use_duf_downsampling'
_VIMEO = 'dataroot_gt dataroot_lq flip_sequence gt_size meta_info_file num_frame random_reverse use_hflip use_rot'
STOCK_DATASETS = {  # dataset class -> keys that it reads
    'FFHQDataset': 'dataroot_gt mean std use_hflip',
    'FFHQDegradationDataset': 'blur_kernel_size blur_sigma brightness color_jitter_prob color_jitter_pt_prob '
    'color_jitter_shift component_path contrast crop_components dataroot_gt downsample_range eye_enlarge_ratio '
    'gray_prob gt_gray hue jpeg_range kernel_list kernel_prob mean noise_range out_size saturation std use_hflip',
    'PairedImageDataset': 'color dataroot_gt dataroot_lq filename_tmpl gt_size mean meta_info_file std use_hflip '
    'use_rot',
    'SingleImageDataset': 'color dataroot_lq mean meta_info_file std',
    'REDSDataset': _REDS,
    'REDSRecurrentDataset': _REDS,
    'RealESRGANDataset': 'betag_range betag_range2 betap_range betap_range2 blur_kernel_size blur_kernel_size2 '
    'blur_sigma blur_sigma2 dataroot_gt final_sinc_prob gt_size kernel_list kernel_list2 kernel_prob kernel_prob2 '
    'meta_info sinc_prob sinc_prob2 use_hflip use_rot',  # gt_size: in upstream's files; nothing reads it
    'RealESRGANPairedDataset': 'dataroot_gt dataroot_lq filename_tmpl gt_size mean meta_info std use_hflip use_rot',
    'VideoTestDataset': _VIDEO,
    'VideoTestVimeo90KDataset': _VIDEO,
    'Vimeo90KDataset': _VIMEO,
}
