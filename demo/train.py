"""Train the small backbone of the demonstration from scratch: `python -m demo.train`.

First its vision learns from single small pictures what each patch shows; then the whole model learns
from clips to answer questions. Both are drawn while it trains, in processes of their own. It can be
stopped at any time and goes on where its last saved state stands, with the same numbers as if it had
never stopped.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from demo.architecture import build_model, build_tokenizer, write_checkpoint
from demo.clips import draw_clip
from demo.examples import Batch, Collator, Shown, draw_questions, show
from demo.glances import PER_STORY, Glances, draw_glances
from demo.patches import CELLS, NOBODY, Patches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EMPTY_WEIGHT, PART_WEIGHT = 0.15, 6.0
"""Most patches show nothing, and most cells of the others no part: what counts against that."""


@dataclass(frozen=True)
class Recipe:
    """What the weights follow from."""

    seed: int = 0
    looks: int = 8000
    """Steps in which vision learns alone."""
    glances: int = 32
    """Pictures in each of these."""
    steps: int = 2600
    """Steps of the whole model, after them."""
    batch: int = 16
    """Clips in each of these."""
    look_rate: float = 3e-3
    """Highest learning rate of vision alone."""
    rate: float = 2e-3
    """Highest learning rate of the whole model; it is lower for vision, which has learnt by then."""
    vision_share: float = 0.3
    warmup: int = 200
    """Steps until the highest rate is reached, in both parts."""
    decay: float = 0.02
    parts: float = 4.0
    """What the loss of the parts in a patch counts beside that of its kind."""
    patches: float = 0.3
    """What the loss of the patches counts beside that of the answers."""

    @property
    def total(self) -> int:
        """Steps of both parts."""
        return self.looks + self.steps

    def rates_at(self, step: int) -> tuple[float, float]:
        """Learning rates of vision and of all else at a step, counted from 0."""
        if step < self.looks:
            return self.look_rate * _shape(step, self.looks, self.warmup), 0.0
        rate = self.rate * _shape(step - self.looks, self.steps, self.warmup)
        return self.vision_share * rate, rate


def _shape(step: int, steps: int, warmup: int) -> float:
    """Share of the highest rate: up, level for a third, and down to nothing in a straight line."""
    return min(1.0, (step + 1) / warmup, 1.5 * (1 - step / steps))


def _draw_glances(recipe: Recipe, step: int) -> Glances:
    stories = recipe.glances // PER_STORY
    numbers = range(step * stories, (step + 1) * stories)
    # Clips of the second part have the numbers from 0 on; these have others.
    return draw_glances(recipe.seed, [10_000_000 + number for number in numbers], "training")


def _draw_clips(recipe: Recipe, step: int) -> tuple[tuple[str, ...], list[Shown]]:
    asked = draw_questions(recipe.seed, step)
    numbers = range(step * recipe.batch, (step + 1) * recipe.batch)
    return asked, [show(draw_clip(recipe.seed, n, "training"), asked) for n in numbers]


def _draw(recipe: Recipe, step: int) -> Any:
    if step < recipe.looks:
        return _draw_glances(recipe, step)
    return _draw_clips(recipe, step - recipe.looks)


def batches(
    recipe: Recipe, first: int, collator: Collator, pool: Executor, ahead: int = 6
) -> Iterator[Glances | Batch]:
    """The batches of the steps from `first` on; some are drawn ahead."""
    waiting: deque[Future[Any]] = deque()
    for step in range(first, recipe.total):
        while len(waiting) < min(ahead, recipe.total - step):
            waiting.append(pool.submit(_draw, recipe, step + len(waiting)))
        drawn = waiting.popleft().result()
        yield drawn if isinstance(drawn, Glances) else collator.batch(*drawn)


class Student(torch.nn.Module):
    """The model, and a layer beside it that only training has."""

    def __init__(self, model: Any, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self._parts = recipe.parts
        width = model.config.vision_config.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.patches = torch.nn.Linear(width, NOBODY + 1 + CELLS)
        """Says of each patch which act and which parts it shows."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.patches.weight.device

    def look(self, glances: Glances) -> torch.Tensor:
        """Loss of the patches of single pictures."""
        with torch.autocast(self.device.type, torch.bfloat16):
            seen = self.model.model.vision_tower(self._pixels(glances.pictures))
        return self._patch_loss(seen.last_hidden_state, glances.patches)

    def answer(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the answers, in which every clip counts the same, and loss of the patches."""
        device = self.device
        chosen = (batch.targets >= 0).to(device)
        unseen = torch.finfo(torch.float32).min
        mask = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, unseen).to(device)
        inner = self.model.model
        seen: list[torch.Tensor] = []
        hook = inner.vision_tower.register_forward_hook(
            lambda *a: seen.append(a[2].last_hidden_state)
        )
        with torch.autocast(device.type, torch.bfloat16):
            hidden = inner(
                input_ids=batch.ids.to(device),
                pixel_values=self._pixels(batch.pictures.flatten(0, 1).numpy()),
                attention_mask=mask,
                position_ids=batch.positions.to(device),
                use_cache=False,
            ).last_hidden_state
            logits = self.model.lm_head(hidden[chosen]).float()
        hook.remove()
        wanted, counts = (part.to(device)[chosen] for part in (batch.targets, batch.weights))
        losses = cross_entropy(logits, wanted, reduction="none")
        return (losses * counts).sum() / counts.sum(), self._patch_loss(seen[0], batch.patches)

    def _pixels(self, pictures: NDArray[np.uint8]) -> torch.Tensor:
        shown = torch.from_numpy(pictures).to(self.device).movedim(-1, 1).float() / 255
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (MEAN, STD))
        return (shown - mean) / std

    def _patch_loss(self, hidden: torch.Tensor, wanted: Patches) -> torch.Tensor:
        device = self.device
        with torch.autocast(device.type, torch.bfloat16):
            said = self.patches(hidden[:, 1:]).float()
        weights = torch.ones(NOBODY + 1, device=device)
        weights[NOBODY] = EMPTY_WEIGHT
        kinds = torch.from_numpy(wanted.kinds).to(device).flatten()
        parts = torch.from_numpy(wanted.parts).to(device).float()
        kind_loss = cross_entropy(said[..., : NOBODY + 1].flatten(0, 1), kinds, weight=weights)
        more = torch.tensor(PART_WEIGHT, device=device)
        part_loss = binary_cross_entropy_with_logits(
            said[..., NOBODY + 1 :], parts, pos_weight=more
        )
        return kind_loss + self._parts * part_loss


class Optimizer:
    """Muon for the matrices inside the layers, AdamW for all else."""

    def __init__(self, student: Student, recipe: Recipe) -> None:
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in sorted(student.named_parameters()):
            sees = "vision_tower" in name or name.startswith("patches.")
            inside = parameter.ndim == 2 and ("layer" in name or "projector" in name)
            groups.setdefault((inside, sees), []).append(parameter)
        muon = [{"params": p, "sees": sees} for (inside, sees), p in groups.items() if inside]
        adam = [{"params": p, "sees": sees} for (inside, sees), p in groups.items() if not inside]
        # Three iterations are enough for matrices this small, and half the time of five.
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                muon, weight_decay=recipe.decay, ns_steps=3, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(adam, weight_decay=recipe.decay, betas=(0.9, 0.98)),
        )
        self._recipe = recipe

    def step(self, number: int) -> None:
        """Take step `number`, counted from 0, along the gradients that are there, and clear them."""
        for_vision, for_others = self._recipe.rates_at(number)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = for_vision if group["sees"] else for_others
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All it remembers, by names that are always the same."""
        return {
            f"{number}.{index}.{name}": value
            for number, part in enumerate(self._parts)
            for index, state in part.state_dict()["state"].items()
            for name, value in state.items()
        }

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over what `tensors` gave."""
        for number, part in enumerate(self._parts):
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in tensors.items():
                owner, index, name = key.split(".", 2)
                if int(owner) == number:
                    state.setdefault(int(index), {})[name] = value
            part.load_state_dict(
                {"state": state, "param_groups": part.state_dict()["param_groups"]}
            )


def save_state(
    path: Path, student: Student, optimizer: Optimizer, step: int, recipe: Recipe
) -> None:
    """Write everything that the next step depends on, in one step."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": p.detach() for name, p in student.named_parameters()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer.tensors().items()}
    said = {"step": str(step), "recipe": json.dumps(asdict(recipe))}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    save_file({name: t.contiguous() for name, t in tensors.items()}, draft, metadata=said)
    draft.replace(path)


def load_state(path: Path, student: Student, optimizer: Optimizer, recipe: Recipe) -> int:
    """Read what `save_state` wrote; returns the steps that were done."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        said = file.metadata()
        if json.loads(said["recipe"]) != asdict(recipe):
            raise click.ClickException(
                f"{path} was saved with {said['recipe']}, asked for is {json.dumps(asdict(recipe))}; "
                "remove it, or name another --work folder"
            )
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                parameter.copy_(file.get_tensor(f"model.{name}"))
        kept = [key for key in file.keys() if key.startswith("optimizer.")]  # noqa: SIM118
        optimizer.load({key.removeprefix("optimizer."): file.get_tensor(key) for key in kept})
    return int(said["step"])


class _Progress:
    """Says now and then how far training is."""

    def __init__(self, recipe: Recipe, first: int) -> None:
        self._recipe, self._first, self._began = recipe, first, time.monotonic()
        self._losses: deque[tuple[float, float]] = deque(maxlen=100)

    def add(self, done: int, answers: float, patches: float) -> None:
        """Note the losses of a step, `done` of all with it."""
        if done == self._recipe.looks + 1:
            self._losses.clear()
        self._losses.append((answers, patches))
        if done % 50 if done > self._recipe.looks else done % 500:
            return
        loss, spots = (
            sum(column) / len(self._losses) for column in zip(*self._losses, strict=True)
        )
        took = time.monotonic() - self._began
        told = f"answers {loss:.3f}  " if done > self._recipe.looks else ""
        click.echo(f"step {done}/{self._recipe.total}  {told}patches {spots:.3f}  {took:.0f} s")


def train(
    recipe: Recipe,
    state: Path,
    device: torch.device,
    pool: Executor,
    save_every: int = 250,
    until: int | None = None,
) -> tuple[Any, Any]:
    """Train, from the saved state where there is one; returns the model and its tokenizer."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    tokenizer = build_tokenizer()
    student = Student(build_model(tokenizer, recipe.seed), recipe).to(device).train()
    optimizer = Optimizer(student, recipe)
    done = load_state(state, student, optimizer, recipe) if state.is_file() else 0
    progress = _Progress(recipe, done)
    # On a CPU the flash kernel's backward pass takes three times as long as plain products.
    with sdpa_kernel(SDPBackend.MATH):
        for batch in batches(recipe, done, Collator(tokenizer), pool):
            if isinstance(batch, Glances):
                answers, patches = torch.zeros(()), student.look(batch)
                torch.autograd.backward(patches)
            else:
                answers, patches = student.answer(batch)
                torch.autograd.backward(answers + recipe.patches * patches)
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step(done)
            done += 1
            progress.add(done, float(answers.detach()), float(patches.detach()))
            if done % save_every == 0 or done in (until, recipe.total):
                save_state(state, student, optimizer, done, recipe)
            if done == until:
                break
    return student.model.eval(), tokenizer


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo/checkpoint"), show_default=True
)
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("runs/train"), show_default=True
)
@click.option("--seed", default=0, show_default=True)
@click.option("--looks", default=Recipe.looks, show_default=True, help="Steps of vision alone.")
@click.option("--steps", default=Recipe.steps, show_default=True, help="Steps of the whole model.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--drawers", default=1, show_default=True, help="Processes that draw clips.")
@click.option("--threads", default=1, show_default=True, help="Threads of the model on a CPU.")
def main(
    out: Path,
    work: Path,
    seed: int,
    looks: int,
    steps: int,
    device: str,
    drawers: int,
    threads: int,
) -> None:
    """Train the backbone and write its checkpoint."""
    torch.set_num_threads(threads)
    recipe = Recipe(seed=seed, looks=looks, steps=steps)
    with ProcessPoolExecutor(drawers, mp_context=get_context("spawn")) as pool:
        model, tokenizer = train(recipe, work / "state.safetensors", torch.device(device), pool)
    write_checkpoint(out, model, tokenizer)


if __name__ == "__main__":
    main()
