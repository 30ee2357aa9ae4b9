"""Losses of selection and correspondence: the same for RefSel alone and inside RefSTAR."""

from typing import Any

from torch import Tensor, nn

from ..errors import RefStarError


def same_person(data: dict[str, Tensor]) -> Tensor:
    """(b, n) bool: valid references that are not known to show somebody else."""
    known_wrong = data['mask_known'] & (data['ref_mask'].flatten(2).amax(2) == 0)
    return data['ref_valid'] & ~known_wrong


def supervise(
    refsel: nn.Module, criteria: nn.ModuleDict, aux: dict[str, Any], data: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Named terms of ``selection``, ``correspondence`` and ``person`` losses, as far as they are configured.

    Args:
        refsel (nn.Module): the :class:`RefSel` that made ``aux``.
        criteria (nn.ModuleDict): losses by name.
        aux (dict): ``mask_logits``, ``carried`` and ``match``, see :meth:`RefSTAR.guide`.
        data (dict): batch with ``gt, ref_mask, gt_mask, mask_known, flow, flow_valid, ref_valid``.
    """
    terms = {}
    if 'selection' in criteria:
        known = data['mask_known'] & data['ref_valid']
        loss = criteria['selection']
        if aux['mask_logits'] is None:
            raise RefStarError("train:selection_opt: this network predicts no selection (network_g.mix: 'everywhere')")
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
        match, wanted = aux['match'], refsel.person.encoder(data['gt'])
        found = criteria['person'](match.person, same_person(data), data['ref_valid'], match.embedding, wanted)
        terms |= {f'l_person_{k}': v for k, v in found.items()}
    return terms
