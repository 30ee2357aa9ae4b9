"""Losses of selection and correspondence: the same for RefSel alone and inside RefSTAR."""

from typing import Any

import torch
from torch import Tensor, nn

from refstar.person_check import Verdict
from refstar.utils.errors import RefStarError


def same_person(data: dict[str, Tensor]) -> Tensor:
    """Find the valid references that are not known to show another person: (b, n) bool."""
    known_wrong = data['mask_known'] & (data['ref_mask'].flatten(2).amax(2) == 0)
    return data['ref_valid'] & ~known_wrong


def person_pairs(refsel: nn.Module, verdict: Verdict, data: dict[str, Any]) -> tuple[Tensor, ...]:
    """Pair every degraded photo of a batch with every reference of the batch; most show another person.

    Returns:
        tuple: arguments of :class:`~refstar.losses.person_loss.PersonLoss`, with b * n references for each photo.
    """
    b, n = data['ref_valid'].shape
    logits = refsel.person.same_person_logits(verdict.embedding, verdict.refs.flatten(0, 1).expand(b, -1, -1))
    names = data['identity']
    equal = torch.tensor([[a == other for other in names for _ in range(n)] for a in names])
    equal = equal.pin_memory() if logits.is_cuda else equal  # a copy of other memory would wait for the GPU
    same = equal.to(logits.device, non_blocking=True) & same_person(data).flatten()
    valid = data['ref_valid'].flatten().expand(b, -1)
    return logits, same, valid, verdict.embedding, refsel.person.encoder(data['gt'])


def reference_losses(
    refsel: nn.Module, criteria: nn.ModuleDict, aux: dict[str, Any], data: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Compute the named terms of ``selection``, ``correspondence`` and ``person`` losses that are configured.

    Args:
        refsel (nn.Module): the :class:`RefSel` that made ``aux``, see :meth:`RefSel.select`.
        criteria (nn.ModuleDict): losses by name.
        data (dict): batch with ``gt, identity, ref_mask, gt_mask, mask_known, flow, flow_valid, ref_valid``.
    """
    terms = {}
    if 'selection' in criteria:
        known = data['mask_known'] & data['ref_valid']
        loss = criteria['selection']
        terms |= {f'l_sel_{k}': v for k, v in loss(aux['mask_logits'], data['ref_mask'], known, logits=True).items()}
        terms |= {f'l_carried_{k}': v for k, v in loss(aux['carried'], data['gt_mask'], known).items()}
    if 'correspondence' in criteria:
        match = aux['match']
        valid = data['flow_valid'] * data['ref_valid'][:, :, None, None, None]
        loss = criteria['correspondence']
        terms |= {f'l_corr_{k}': v for k, v in loss(match.logits, match.flows, data['flow'], valid).items()}
    if 'person' in criteria:
        if refsel.person is None:
            raise RefStarError('train.person_opt needs a person block (network, weights) in RefSel')
        found = criteria['person'](*person_pairs(refsel, aux['match'].person, data))
        terms |= {f'l_person_{k}': v for k, v in found.items()}
    return terms
