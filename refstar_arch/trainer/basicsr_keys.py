"""The option keys that BasicSR's own pipelines read, with what they do; those of classes are with the classes."""

TOP = {
    'name': 'name of the run: its folders are `experiments/<name>`, `results/<name>`; with `debug` in it, every '
    'iteration is logged, and every 8th saved and validated',
    'model_type': 'class of the model',
    'num_gpu': 'GPUs of this process; `auto` (default): all; 0: CPU',
    'manual_seed': 'seed of everything (default: drawn, and saved in the checkpoints)',
    'scale': 'up-sampling factor, handed on to every data set',
    'datasets': 'blocks `train`, `val`, `val_2` ..., or `test`, `test_2` ...',
    'path': 'what to begin with',
    'train': 'the training; without it: a test',
    'val': 'validation, or the test',
    'logger': 'printing and saving',
    'dist_params': 'of several processes',
    'find_unused_parameters': "argument of DistributedDataParallel, for BasicSR's own models (default false)",
}
TRAIN = {
    'total_iter': 'iterations of the training',
    'warmup_iter': 'iterations over which the learning rate grows from 0 (default -1: none)',
    'scheduler': 'learning rate: `type` MultiStepLR or CosineAnnealingRestartLR, and its arguments',
    'ema_decay': 'decay of the moving average of the weights, which is what is tested (default 0: none)',
}
VAL = {
    'val_freq': 'validate every so many iterations',
    'save_img': 'write pictures',
    'suffix': "of the pictures' names in a test (default: name of the run)",
    'pbar': 'progress bar',
    'metrics': 'blocks by name, each with `type`, its arguments, and `better: higher` (default) or `lower`',
}
LOGGER = {
    'print_freq': 'print the losses every so many iterations',
    'save_checkpoint_freq': 'save a checkpoint every so many iterations',
    'use_tb_logger': 'also write for TensorBoard, into `tb_logger/<name>`',
    'wandb': 'Weights & Biases: `project`, `resume_id`',
}
WANDB = {'project': 'its name; `~` for none', 'resume_id': 'run to go on with'}
DIST = {
    'backend': 'nccl (default) or gloo; without CUDA always gloo',
    'port': 'of the first process, under Slurm (default: MASTER_PORT, else made of the number of the job)',
}
PATH = {
    'pretrain_network_g': 'weights to begin with; the same for every `network_*`',
    'param_key_g': 'key in that file: params (default), params_ema, or `~` for a bare state dict',
    'strict_load_g': 'every weight must be in the file (default true)',
    'resume_state': 'training state to go on with; `--auto_resume` finds the latest by itself',
    'ignore_resume_networks': 'list of networks that keep their `pretrain_network_*` on resuming',
}
DATASET = {
    'name': 'of the data set, in the log and in results',
    'type': 'class of the data set',
    'phase': 'set by BasicSR',
    'scale': 'set by BasicSR',
    'io_backend': '`type: disk` (default) or `lmdb`',
    'num_worker_per_gpu': 'loader processes of a training process',
    'batch_size_per_gpu': 'samples per step of a training process',
    'use_shuffle': 'not read: BasicSR always shuffles',
    'dataset_enlarge_ratio': 'passes over the data per epoch (default 1)',
    'prefetch_mode': '`~` (default), cpu, or cuda (needs pin_memory)',
    'pin_memory': 'page-locked memory, for faster copies to a GPU (default false)',
    'persistent_workers': 'keep the loader processes between epochs (default false)',
    'num_prefetch_queue': 'batches that `prefetch_mode: cpu` keeps ready (default 1)',
}
UNREAD = {'RealESRGANDataset': ['gt_size']}  # what upstream's own option files have in a data set and nothing reads
