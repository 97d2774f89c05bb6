"""Train the small backbone of the demonstration from scratch: `python -m demo.train`.

Clips are drawn while it trains, in processes of their own. It can be stopped at any time and goes on
where its last saved state stands, with the same numbers as if it had never stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import torch

from demo.architecture import build_model, build_tokenizer, write_checkpoint
from demo.clips import draw_clip
from demo.examples import NOBODY, Batch, Collator, Shown, draw_questions, show

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """What the weights follow from."""

    seed: int = 0
    steps: int = 2600
    batch: int = 16
    """Clips a step."""
    rate: float = 1e-3
    """Highest learning rate."""
    warmup: int = 150
    """Steps until it is reached; from there it falls to nothing along a cosine."""
    decay: float = 0.05
    places: float = 0.5
    """What the loss of the patches counts beside that of the answers."""

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * 0.5 * (1 + math.cos(math.pi * done))


def _draw(recipe: Recipe, step: int) -> tuple[tuple[str, ...], list[Shown]]:
    asked = draw_questions(recipe.seed, step)
    numbers = range(step * recipe.batch, (step + 1) * recipe.batch)
    return asked, [show(draw_clip(recipe.seed, n, "training"), asked) for n in numbers]


def batches(
    recipe: Recipe, first: int, collator: Collator, pool: Executor, ahead: int = 4
) -> Iterator[Batch]:
    """The batches of the steps from `first` on; some are drawn ahead."""
    waiting: deque[Future[tuple[tuple[str, ...], list[Shown]]]] = deque()
    for step in range(first, recipe.steps):
        while len(waiting) < min(ahead, recipe.steps - step):
            waiting.append(pool.submit(_draw, recipe, step + len(waiting)))
        yield collator.batch(*waiting.popleft().result())


class Student(torch.nn.Module):
    """The model, and a layer beside it that only training has."""

    def __init__(self, model: Any, seed: int) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.places = torch.nn.Linear(width, NOBODY + 1)
        """Says of each patch which act it shows: what vision learns from, long before words."""

    def forward(self, batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of the answers, in which every clip counts the same, and loss of the patches."""
        chosen = (batch.targets >= 0).to(device)
        shown = batch.pictures.to(device).flatten(0, 1).movedim(-1, 1).float() / 255
        mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, STD))
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
                pixel_values=(shown - mean) / std,
                attention_mask=mask,
                position_ids=batch.positions.to(device),
                use_cache=False,
            ).last_hidden_state
            logits = self.model.lm_head(hidden[chosen]).float()
            patches = self.places(seen[0][:, 1:]).float()
        hook.remove()
        wanted, counts = (part.to(device)[chosen] for part in (batch.targets, batch.weights))
        losses = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
        weights = torch.ones(NOBODY + 1, device=device)
        weights[NOBODY] = 0.15
        places = torch.nn.functional.cross_entropy(
            patches.flatten(0, 1), batch.places.to(device).flatten(), weight=weights
        )
        return (losses * counts).sum() / counts.sum(), places


def optimizer_of(model: Any, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; what is one-dimensional does not decay."""
    named = [p for _, p in sorted(model.named_parameters())]
    groups = [
        {"params": [p for p in named if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))


def save_state(
    path: Path, model: Any, optimizer: torch.optim.AdamW, step: int, recipe: Recipe
) -> None:
    """Write everything that the next step depends on, in one step."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    said = {"step": str(step), "recipe": json.dumps(asdict(recipe))}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    save_file({name: t.contiguous() for name, t in tensors.items()}, draft, metadata=said)
    draft.replace(path)


def load_state(path: Path, model: Any, optimizer: torch.optim.AdamW, recipe: Recipe) -> int:
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
            for name, parameter in model.named_parameters():
                parameter.copy_(file.get_tensor(f"model.{name}"))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key in sorted(file.keys()):
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = file.get_tensor(key)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(said["step"])


def train(
    recipe: Recipe,
    state: Path,
    device: torch.device,
    pool: Executor,
    save_every: int = 100,
    until: int | None = None,
) -> tuple[Any, Any]:
    """Train, from the saved state where there is one; returns the model and its tokenizer."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    tokenizer = build_tokenizer()
    student = Student(build_model(tokenizer, recipe.seed), recipe.seed).to(device).train()
    optimizer = optimizer_of(student, recipe)
    done = load_state(state, student, optimizer, recipe) if state.is_file() else 0
    began, first, mean, spots = time.monotonic(), done, 0.0, 0.0
    # On a CPU the flash kernel's backward pass takes three times as long as plain products.
    with sdpa_kernel(SDPBackend.MATH):
        for batch in batches(recipe, done, Collator(tokenizer), pool):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(done)
            loss, places = student(batch, device)
            optimizer.zero_grad(set_to_none=True)
            (loss + recipe.places * places).backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            done += 1
            mean += (float(loss.detach()) - mean) / min(50, done - first)
            spots += (float(places.detach()) - spots) / min(50, done - first)
            if done % 25 == 0:
                took = time.monotonic() - began
                left = took / (done - first) * (recipe.steps - done)
                click.echo(
                    f"step {done}/{recipe.steps}  loss {mean:.3f}  patches {spots:.3f}  {took:.0f} s, {left:.0f} s left"
                )
            if done % save_every == 0 or done == until:
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
@click.option("--steps", default=Recipe.steps, show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--drawers", default=1, show_default=True, help="Processes that draw clips.")
@click.option("--threads", default=1, show_default=True, help="Threads of the model on a CPU.")
def main(
    out: Path, work: Path, seed: int, steps: int, device: str, drawers: int, threads: int
) -> None:
    """Train the backbone and write its checkpoint."""
    torch.set_num_threads(threads)
    recipe = Recipe(seed=seed, steps=steps)
    with ProcessPoolExecutor(drawers, mp_context=get_context("spawn")) as pool:
        model, tokenizer = train(recipe, work / "state.safetensors", torch.device(device), pool)
    write_checkpoint(out, model, tokenizer)


if __name__ == "__main__":
    main()
