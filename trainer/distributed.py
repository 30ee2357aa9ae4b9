"""The processes of a distributed run: how they find each other under Slurm, and what they tell each other without a
GPU, so that none has to wait for its own."""

import subprocess
from collections.abc import Mapping
from typing import Any

from torch import distributed

from refstar.utils.errors import RefStarError

_groups: dict[Any, Any] = {}


def cpu_group() -> Any:
    """A group of all processes on gloo; every process makes it when it first needs it, all in the same place."""
    default = distributed.group.WORLD
    if default not in _groups:
        _groups.clear()
        _groups[default] = default if distributed.get_backend() == 'gloo' else distributed.new_group(backend='gloo')
    return _groups[default]


def gathered(value: Any) -> list[Any]:
    """The values of all processes by rank, in every process; waits for the slowest.

    Args:
        value: plain values or tensors on the CPU.
    """
    if not distributed.is_initialized():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value, group=cpu_group())
    return values


def place_in_slurm(env: Mapping[str, str], port: int | None = None) -> dict[str, str]:
    """What torchrun would have told this process, from what `srun` tells a task.

    Args:
        env: environment variables.
        port: of the first process. None: MASTER_PORT, else one made of the job's number, since two jobs may share a
            node.

    Raises:
        RefStarError: srun has not started this process, or `scontrol` does not say where the first one is.
    """
    nodes = env.get('SLURM_STEP_NODELIST') or env.get('SLURM_NODELIST')
    if not (nodes and {'SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS'} <= set(env)):
        raise RefStarError(
            '--launcher slurm: not started by srun; inside a job: srun basicsr train -opt X.yml --launcher slurm'
        )
    try:
        asked = subprocess.run(['scontrol', 'show', 'hostname', nodes], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RefStarError(f'--launcher slurm: scontrol does not say which nodes {nodes} are: {error}') from error
    job = int(env.get('SLURM_JOB_ID') or 0)
    return {
        'MASTER_ADDR': asked.stdout.split()[0],
        'MASTER_PORT': str(port or env.get('MASTER_PORT') or (10000 + job % 20000 if job else 29500)),
        'RANK': env['SLURM_PROCID'],
        'WORLD_SIZE': env['SLURM_NTASKS'],
        'LOCAL_RANK': env['SLURM_LOCALID'],
    }
