"""Losses of selection and correspondence: the same for RefSel alone and inside RefSTAR."""

from typing import Any

from torch import Tensor, nn


def supervise(criteria: nn.ModuleDict, aux: dict[str, Any], data: dict[str, Tensor]) -> dict[str, Tensor]:
    """Named terms of ``selection`` and ``correspondence`` losses, as far as they are configured.

    Args:
        criteria (nn.ModuleDict): losses by name.
        aux (dict): ``mask_logits``, ``carried`` and ``match``, see :meth:`RefSTAR.guide`.
        data (dict): batch with ``ref_mask, gt_mask, mask_known, flow, flow_valid, ref_valid``.
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
    return terms
