"""One pass over a batch of segments, for one prompt or for several that share their pictures.

Several prompts about the same keyframes differ in their last few dozen tokens. Vision is encoded
once, the common prefix is prefilled once into a cache, and all suffixes run packed in one row under
a mask that keeps them apart. That is equal to passes of their own, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stages.backbones.capture import Decoder, PrefixOnly, Taps
from stages.backbones.contract import Family, Wanted
from stages.backbones.upload import upload


def run_one(
    model: Any,
    decoder: Decoder,
    family: Family,
    token_ids: torch.Tensor,
    positions: torch.Tensor,
    visual: Mapping[str, Any],
    wanted: Wanted,
) -> Taps:
    """The whole prompt in one pass: ids [segments, tokens], no cache, no head."""
    with Taps(decoder, wanted) as taps:
        taps.run(
            lambda: model.model(
                input_ids=token_ids,
                position_ids=positions,
                use_cache=False,
                **family.token_inputs(token_ids),
                **visual,
            )
        )
        return taps


def run_many(
    model: Any,
    decoder: Decoder,
    family: Family,
    token_ids: Sequence[torch.Tensor],
    positions: Sequence[torch.Tensor],
    visual: Mapping[str, Any],
    wanted: Wanted,
    cut: int,
) -> Taps:
    """Several prompts: ids and positions per prompt, which agree in their first `cut` tokens."""
    from transformers import DynamicCache

    prefix = token_ids[0][:, :cut]
    cache = DynamicCache()
    depth = wanted.depth(len(decoder.layers))
    if depth:
        with PrefixOnly(decoder, depth) as only:
            only.run(
                lambda: model.model(
                    input_ids=prefix,
                    position_ids=positions[0][..., :cut],
                    past_key_values=cache,
                    use_cache=True,
                    **family.token_inputs(prefix),
                    **visual,
                )
            )
    suffixes = torch.cat([ids[:, cut:] for ids in token_ids], dim=1)
    lengths = [ids.shape[1] - cut for ids in token_ids]
    ends = upload(torch.tensor(lengths).cumsum(0) - 1, suffixes.device)
    mask = suffix_mask(cut if depth else 0, lengths, decoder.embedding.weight.dtype)
    mask = upload(mask, suffixes.device)
    with Taps(decoder, wanted, ends) as taps:
        taps.run(
            lambda: model.model(
                input_ids=suffixes,
                position_ids=torch.cat([place[..., cut:] for place in positions], dim=-1),
                attention_mask=mask.expand(len(suffixes), -1, -1, -1),
                past_key_values=cache,
                use_cache=True,
            )
        )
        return taps


def shared_tokens(token_ids: Sequence[torch.Tensor], visual_ids: Sequence[int]) -> int:
    """How many tokens all prompts have in common; every prompt keeps one token of its own.

    Raises ValueError where they differ before the pictures end.
    """
    first = token_ids[0]
    shortest = min(ids.shape[1] for ids in token_ids)
    same = torch.ones(shortest, dtype=torch.bool, device=first.device)
    for ids in token_ids[1:]:
        same &= (ids[:, :shortest] == first[:, :shortest]).all(dim=0)
    cut = min(int(same.long().cumprod(0).sum()), shortest - 1)
    if any(bool(torch.isin(ids[:, cut:], ids.new_tensor(visual_ids)).any()) for ids in token_ids):
        raise ValueError(
            "the prompts differ before the last picture: they must share the system message and "
            "the form of the frames"
        )
    return cut


def suffix_mask(prefix: int, lengths: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [1, 1, suffixes, prefix + suffixes]: the prefix, and one's own suffix so far."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(len(owner))
    own = (owner[:, None] == owner[None]) & (place[:, None] >= place[None])
    seen = torch.cat([own.new_ones(len(owner), prefix), own], dim=1)
    mask = torch.zeros(seen.shape, dtype=dtype)
    return mask.masked_fill(~seen, torch.finfo(dtype).min)[None, None]
