"""What one segment costs: tokens, floating point operations, bytes. Arithmetic only, no model.

Counted are the matrix products (a multiply and an add are two operations), as the forward stage runs
them: vision once; attention as scaled_dot_product_attention computes it, that is the lower triangle
where it is causal without a mask, and the whole rectangle under a mask; in the last decoder layer
that is needed, keys, values and attention at all positions, and the output projection and the MLP
at the last few alone. Not counted: norms, activations, rotary embeddings, the head for yes and no.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.backbones.shape import ModelShape, VisionShape
from stages.backbones.sizing import fit

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one stored number."""

LAST_POSITIONS = 32
"""Positions that go through the end of the last layer: capture.NARROW, which needs torch."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a segment becomes."""

    pictures: int
    """Pictures that the vision part takes: keyframes, or pairs of them for the Qwens."""
    grid: tuple[int, int]
    """Patches of a picture, rows and columns."""
    visual: int
    """Visual tokens of the segment."""
    prompt: int
    """All other tokens of one prompt."""

    @property
    def total(self) -> int:
        """Tokens of one prompt with its pictures."""
        return self.visual + self.prompt


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating point operations of one segment, for all of its prompts."""

    vision: int
    decoder: int

    @property
    def total(self) -> int:
        """Both parts."""
        return self.vision + self.decoder

    @property
    def tera(self) -> float:
        """Both parts in TFLOP."""
        return self.total / 1e12


def tokens_of(
    shape: ModelShape, keyframes: int, height: int, width: int, prompt_tokens: int
) -> Tokens:
    """Tokens of a segment whose frames have this size in pixels.

    `prompt_tokens` are all that are not visual: template, system message, what stands around the
    keyframes, question.
    """
    vision = shape.vision
    pictures = -(-keyframes // vision.temporal)
    rows, columns = picture_size(shape, keyframes, height, width)
    grid = (rows // vision.patch[0], columns // vision.patch[1])
    # Pooling rounds up, where merging has whole groups of patches.
    sides = [-(-side // vision.merge) for side in grid]
    visual = pictures * sides[0] * sides[1] + vision.pooled
    return Tokens(pictures, grid, visual, prompt_tokens)


def picture_size(shape: ModelShape, keyframes: int, height: int, width: int) -> tuple[int, int]:
    """Height and width that a frame of this size is resized to, in pixels."""
    vision = shape.vision
    if vision.image is not None:
        return vision.image
    unit = vision.patch[0] * vision.merge
    if not vision.pixels_of_all:
        return fit(height, width, unit, vision.pixels, 1, 1)
    if min(height, width) < unit:
        scale = max(unit / height, unit / width)
        height, width = int(height * scale), int(width * scale)
    frames = max(keyframes, vision.temporal)
    whole = round(frames / vision.temporal) * vision.temporal
    return fit(height, width, unit, vision.pixels, frames, whole)


def cost_of(
    shape: ModelShape, tokens: Tokens, depth: int, prompts: int = 1, suffix_tokens: int = 40
) -> Cost:
    """Operations of a pass through `depth` decoder layers, for prompts that share their pictures.

    With several prompts all tokens but the last `suffix_tokens` of each are shared: they fill a
    cache once, and all suffixes run in one row under a mask.
    """
    if not 0 <= depth <= shape.layers:
        raise ValueError(f"depth {depth} of a decoder with {shape.layers} layers")
    if depth == 0:
        return Cost(0, 0)  # the pass ends with the embedding of the tokens, before the pictures
    if prompts == 1:
        decoder = _one_prompt(shape, tokens.total, depth)
    else:
        suffix = min(suffix_tokens, tokens.prompt)
        decoder = _many_prompts(shape, tokens.total - suffix, prompts * suffix, depth)
    return Cost(_vision(shape.vision, tokens), decoder)


def stored_bytes(
    shape: ModelShape, dtype: str, states: int, heads: int = 0, prompts: int = 1
) -> int:
    """Bytes of one segment with so many hidden states and attention heads of each prompt kept."""
    return prompts * (states * shape.width + heads * shape.head_dim) * BYTES[dtype]


def _one_prompt(shape: ModelShape, tokens: int, depth: int) -> int:
    mix = _mix(shape, tokens, tokens * (tokens + 1) // 2)
    last = min(tokens, LAST_POSITIONS)
    return depth * mix + (depth - 1) * _rest(shape, tokens) + _rest(shape, last)


def _many_prompts(shape: ModelShape, prefix: int, suffixes: int, depth: int) -> int:
    first = _mix(shape, prefix, prefix * (prefix + 1) // 2)
    then = _mix(shape, suffixes, suffixes * (prefix + suffixes)) + _rest(shape, suffixes)
    # Of the last layer, the prefix gives keys and values alone (its attention is computed too).
    return depth * (first + then) + (depth - 1) * _rest(shape, prefix)


def _mix(shape: ModelShape, rows: int, pairs: int) -> int:
    """Queries, keys and values of so many positions, and attention over so many pairs."""
    inner = shape.heads * shape.head_dim
    outputs = inner + 2 * shape.kv_heads * shape.head_dim
    return _linear(rows, shape.width, outputs) + 4 * pairs * inner


def _rest(shape: ModelShape, rows: int) -> int:
    """Output projection and gated MLP at so many positions."""
    inner = shape.heads * shape.head_dim
    return _linear(rows, inner, shape.width) + _linear(rows, shape.width, 3 * shape.intermediate)


def _vision(vision: VisionShape, tokens: Tokens) -> int:
    rows, columns = tokens.grid
    patches = rows * columns
    pixels = vision.channels * vision.temporal * vision.patch[0] * vision.patch[1]
    picture = _linear(patches, pixels, vision.width)
    whole = _vision_layer(vision, [patches + vision.class_token])
    windowed = _vision_layer(vision, _windows(vision, rows, columns)) if vision.window else 0
    for layer in range(vision.layers):
        picture += windowed if vision.window and layer not in vision.full else whole
    if vision.pooling_head:
        picture += _pooling_head(vision, patches)
    rows = tokens.pictures * patches if vision.pooled else tokens.visual
    projector = sum(_linear(rows, inputs, outputs) for inputs, outputs in vision.projector)
    return tokens.pictures * picture + vision.projectors * projector


def _vision_layer(vision: VisionShape, lengths: list[int]) -> int:
    """One layer over a picture whose positions attend to one another in groups of these lengths."""
    matrices = 3 if vision.gated else 2
    rows = sum(lengths)
    products = _linear(rows, vision.width, 4 * vision.width + matrices * vision.intermediate)
    return products + 4 * vision.width * sum(length**2 for length in lengths)


def _windows(vision: VisionShape, rows: int, columns: int) -> list[int]:
    """Patches in each attention window of a picture."""
    side = vision.window * vision.merge
    heights, widths = (
        [min(side, total - start) for start in range(0, total, side)] for total in (rows, columns)
    )
    return [height * width for height in heights for width in widths]


def _pooling_head(vision: VisionShape, patches: int) -> int:
    """One query over all patches, and an MLP at its one position."""
    width = vision.width
    attention = _linear(2, width, width) + _linear(patches, width, 2 * width) + 4 * patches * width
    return attention + _linear(1, width, 2 * vision.intermediate)


def _linear(rows: int, inputs: int, outputs: int) -> int:
    return 2 * rows * inputs * outputs
