"""The option keys that BasicSR's own pipelines and models read: what they do, and what they may be."""

from typing import Any

from .training_options import BLOCK, COUNT, NUMBER, SIZE, TEXT, YES_OR_NO, Key, is_block, is_number, iterations, whole

EVERY = ('a whole number from 1', iterations(1))
FROM_0 = ('a whole number from 0', iterations(0))
NUMBERS = ('a list of numbers', lambda value: isinstance(value, list) and all(map(is_number, value)))

TOP = {
    'name': Key(
        'name of the run: its folders are `experiments/<name>`, `results/<name>`; with `debug` in it, every iteration '
        'is logged, and every 8th saved and validated',
        "the name of a folder (a number in quotes: '1')",
        lambda value: isinstance(value, str) and value not in ('', '.', '..') and '/' not in value,
    ),
    'model_type': Key('class of the model'),
    'num_gpu': Key(
        'GPUs of this process; `auto` (default): all; 0: CPU',
        'auto or a whole number from 0',
        lambda value: value == 'auto' or whole(0)(value),
        empty=False,
    ),
    'manual_seed': Key(
        'seed of everything (default: drawn, and saved in the checkpoints)',
        'a whole number from 0, below 2^31',
        lambda value: whole(0)(value) and value < 2**31,
    ),
    'scale': Key('up-sampling factor, handed on to every data set', *COUNT),
    'datasets': Key('blocks `train`, `val`, `val_2`, or `test`, `test_2`', *BLOCK),
    'path': Key('what to begin with', *BLOCK),
    'train': Key('the training; without it: a test', *BLOCK),
    'val': Key('validation, or the test', *BLOCK),
    'logger': Key('printing and saving', *BLOCK),
    'dist_params': Key('of several processes', *BLOCK),
    'find_unused_parameters': Key(
        "argument of DistributedDataParallel, for BasicSR's own models (default false)", *YES_OR_NO
    ),
}
TRAIN = {
    'total_iter': Key('iterations of the training', *EVERY),
    'warmup_iter': Key(
        'iterations over which the learning rate grows from 0 (default -1: none)',
        'a whole number from -1',
        iterations(-1),
        empty=False,
    ),
    'scheduler': Key('learning rate: `type` MultiStepLR or CosineAnnealingRestartLR, and its arguments', *BLOCK),
    'ema_decay': Key(
        'decay of the moving average of the weights, which is what is tested (default 0: none)',
        'a number from 0, below 1',
        lambda value: is_number(value) and 0 <= value < 1,
        empty=False,
    ),
}
OPTIMIZER = {
    'type': Key('any of `torch.optim`, whose other arguments may follow', *TEXT),
    'lr': Key('learning rate', *SIZE),
    'weight_decay': Key('argument of many', *SIZE),
    'betas': Key('argument of Adam and its kin', *NUMBERS),
}
SCHEDULER = {
    'milestones': Key('of MultiStepLR: iterations', *NUMBERS),
    'gamma': Key('of MultiStepLR: factor at each of them', *NUMBER),
    'periods': Key('of CosineAnnealingRestartLR: iterations of each cosine', *NUMBERS),
    'restart_weights': Key('of CosineAnnealingRestartLR: factor on each of them', *NUMBERS),
    'eta_min': Key('of CosineAnnealingRestartLR: smallest learning rate', *SIZE),
}
VAL = {
    'val_freq': Key('validate every so many iterations', *EVERY),
    'save_img': Key('write pictures', *YES_OR_NO),
    'suffix': Key("of the pictures' names in a test (default: name of the run)"),
    'pbar': Key('progress bar', *YES_OR_NO),
    'metrics': Key(
        'blocks by name, each with `type`, its arguments, and `better: higher` (default) or `lower`',
        'a block of blocks',
        lambda value: is_block(value) and all(map(is_block, value.values())),
    ),
}
LOGGER = {
    'print_freq': Key('print the losses every so many iterations', *EVERY),
    'save_checkpoint_freq': Key('save a checkpoint every so many iterations', *EVERY),
    'use_tb_logger': Key('also write for TensorBoard, into `tb_logger/<name>`', *YES_OR_NO),
    'wandb': Key('Weights & Biases: `project`, `resume_id`', *BLOCK),
}
WANDB = {'project': Key('its name; `~` for none', *TEXT), 'resume_id': Key('run to go on with', *TEXT)}
DIST = {
    'backend': Key('nccl (default) or gloo; without CUDA always gloo', *TEXT),
    'port': Key('of the first process, under Slurm (default: MASTER_PORT, else made of the number of the job)', *COUNT),
}
PATH = {
    'pretrain_network_g': Key('weights to begin with; the same for every `network_*`', *TEXT),
    'param_key_g': Key(
        'key in that file: params (default), params_ema, or `~` for a bare state dict; the same for every `network_*`',
        *TEXT,
    ),
    'strict_load_g': Key('every weight must be in the file (default true); the same for every `network_*`', *YES_OR_NO),
    'resume_state': Key('training state to go on with; `--auto_resume` finds the latest by itself', *TEXT),
    'ignore_resume_networks': Key(
        'list of networks that keep their `pretrain_network_*` on resuming',
        'a list',
        lambda value: isinstance(value, list),
    ),
}
DATASET = {
    'name': Key('of the data set, in the log and in results', *TEXT),
    'type': Key('class of the data set'),
    'phase': Key('set by BasicSR'),
    'scale': Key('set by BasicSR'),
    'io_backend': Key('`type: disk` (default) or `lmdb`', *BLOCK),
    'num_worker_per_gpu': Key('loader processes of a training process', 'a whole number from 0', whole(0)),
    'batch_size_per_gpu': Key('samples per step of a training process', *COUNT),
    'use_shuffle': Key('not read: BasicSR always shuffles'),
    'dataset_enlarge_ratio': Key(
        'passes over the data per epoch (default 1)',
        'a number above 0',
        lambda value: is_number(value) and value > 0,
        empty=False,
    ),
    'prefetch_mode': Key(
        '`~` (default), cpu, or cuda (needs pin_memory)', 'cpu or cuda', lambda value: value in ('cpu', 'cuda')
    ),
    'pin_memory': Key(
        'page-locked memory, for faster copies to a GPU (default: of training sets, where there is one)', *YES_OR_NO
    ),
    'persistent_workers': Key('keep the loader processes between epochs (default false)', *YES_OR_NO),
    'num_prefetch_queue': Key('batches that `prefetch_mode: cpu` keeps ready (default 1)', *COUNT),
}
ENDINGS = {  # of keys in the block `train` and in losses, whatever the model
    '_every': Key('that happens every so many iterations', *EVERY, empty=False),
    'net_d_iters': Key('net_g is trained every so many iterations', *EVERY, empty=False),
    '_init_iters': Key('net_d is trained alone for so many iterations', *FROM_0, empty=False),
    '_start': Key('first iteration', *FROM_0, empty=False),
    '_until': Key('last iteration', *FROM_0, empty=False),
    '_weight': Key('factor on a loss', *NUMBER),
    '_opt': Key('a loss: `type` and its arguments', *BLOCK),
}
MODELS = {  # read by models of BasicSR and GFPGAN, or by ours as theirs do
    'network_g': 'the network: `type` and its arguments',
    'network_d': 'its discriminator: `type` and its arguments',
    'network_vqgan': 'the VQGAN whose codes are to be predicted, never trained: `type` and its arguments',
    'network_d_left_eye': 'discriminator of left eyes; these three together, with `crop_components` of the data set',
    'network_d_right_eye': 'discriminator of right eyes',
    'network_d_mouth': 'discriminator of mouths',
    'network_identity': 'face recognition network of the identity loss',
    'train.optim_g': 'optimizer of network_g',
    'train.optim_d': 'optimizer of network_d',
    'train.optim_component': 'optimizer of the discriminators of eyes and mouth',
    'train.pixel_opt': 'loss between output and GT',
    'train.perceptual_opt': 'perceptual and style loss',
    'train.gan_opt': 'adversarial loss',
    'train.ldl_opt': 'loss of local artifacts (LDL)',
    'train.feature_matching_opt': 'loss between features of the discriminator',
    'train.L1_opt': 'the L1 of pyramid, components and identity',
    'train.gan_component_opt': 'adversarial loss of eyes and mouth',
    'train.comp_style_weight': 'factor on the style loss of eyes and mouth (default 0)',
    'train.identity_weight': 'factor on the identity loss',
    'train.pyramid_loss_weight': 'factor on the loss of the pyramid (default 0)',
    'train.remove_pyramid_loss': 'last iteration of the pyramid loss (default: all)',
    'train.net_d_iters': 'network_g is trained every so many iterations (default 1)',
    'train.net_d_init_iters': 'network_d is trained alone for so many iterations (default 0)',
    'train.net_d_reg_every': 'R1 every so many iterations',
    'train.net_g_reg_every': 'path length penalty every so many iterations',
    'train.r1_reg_weight': 'factor on the R1 penalty of network_d',
    'train.path_reg_weight': 'factor on the path length penalty of network_g',
    'train.path_batch_shrink': 'the path length penalty takes the batch divided by this',
    'train.mixing_prob': 'share of samples with two styles',
    'train.dcn_lr_mul': 'factor on the learning rate of deformable convolutions',
    'train.tsa_iter': 'iterations in which only the module TSA is trained',
    'train.fix_flow': 'iterations in which the optical flow is not trained',
    'train.flow_lr_mul': 'factor on the learning rate of the optical flow',
    'train.lr_flow': 'learning rate of the optical flow',
    'val.num_val_samples': 'how many pictures are drawn (default 16)',
    'val.center_frame_only': 'figures of the middle frame alone',
    'val.flip_seq': 'sequences are mirrored in time to twice their length',
    'gt_size': 'side of the crop of GT, in pixels',
    'queue_size': 'samples in the pool of which batches are drawn',
    'high_order_degradation': 'the two-fold degradation of Real-ESRGAN (default true)',
    'gt_usm': 'GT is sharpened',
    'l1_gt_usm': 'GT of the pixel loss is sharpened',
    'percep_gt_usm': 'GT of the perceptual loss is sharpened',
    'gan_gt_usm': 'GT of the adversarial loss is sharpened',
    'second_blur_prob': 'share of samples that are blurred twice',
    **{
        f'{name}{again}': text + (', the second time' if again else '')
        for again in ('', '2')
        for name, text in {
            'resize_prob': 'shares of samples that are enlarged, made smaller, kept',
            'resize_range': 'range of that factor',
            'gaussian_noise_prob': 'share of samples with Gaussian noise; the others get Poisson noise',
            'noise_range': 'range of the standard deviation, of 255',
            'poisson_scale_range': 'range of the scale of Poisson noise',
            'gray_noise_prob': 'share of samples with grey noise',
            'jpeg_range': 'range of the JPEG quality',
        }.items()
    },
}
UNREAD = {'RealESRGANDataset': ['gt_size']}  # what upstream's own option files have in a data set and nothing reads
SET_BY_TRAINER = {'is_train', 'dist', 'rank', 'world_size', 'root_path', 'models', 'training_states', 'visualization'}


def by_ending(block: dict[str, Any]) -> dict[str, Key]:
    """What the keys of a block may be, as far as their endings tell."""
    return {name: key for name in block for ending, key in ENDINGS.items() if name.endswith(ending)}
