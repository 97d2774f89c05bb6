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
import torch

from demo.architecture import build_model, build_tokenizer, write_checkpoint
from demo.checkpoint import CHECKPOINT
from demo.clips import draw_clip
from demo.examples import Batch, Collator, Shown, draw_questions, show
from demo.figures import CLIPS, differences, figures, figures_text, record, recorded_exam, take
from demo.glances import PER_STORY, Glances, draw_glances
from demo.student import Student


@dataclass(frozen=True)
class Recipe:
    """What the weights follow from."""

    seed: int = 0
    looks: int = 8000
    """Steps in which vision learns alone."""
    glances: int = 32
    """Pictures in each of these."""
    steps: int = 1600
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


class Progress:
    """How far training is; says so now and then."""

    def __init__(self, recipe: Recipe, done: int = 0, spent: float = 0.0) -> None:
        self.done = done
        """Steps."""
        self._recipe, self._spent, self._began = recipe, spent, time.monotonic()
        self._losses: deque[tuple[float, float]] = deque(maxlen=100)

    @property
    def seconds(self) -> float:
        """Spent on training, before it was last stopped too."""
        return self._spent + time.monotonic() - self._began

    def add(self, answers: float, patches: float) -> None:
        """Note a step and its losses."""
        self.done += 1
        whole = self.done > self._recipe.looks
        if self.done == self._recipe.looks + 1:
            self._losses.clear()
        self._losses.append((answers, patches))
        if self.done % (50 if whole else 500):
            return
        loss, spots = (
            sum(column) / len(self._losses) for column in zip(*self._losses, strict=True)
        )
        told = f"answers {loss:.3f}  " if whole else ""
        click.echo(
            f"step {self.done}/{self._recipe.total}  {told}patches {spots:.3f}  {self.seconds:.0f} s"
        )


def save_state(
    path: Path, student: Student, optimizer: Optimizer, progress: Progress, recipe: Recipe
) -> None:
    """Write everything that the next step depends on, in one step."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": p.detach() for name, p in student.named_parameters()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer.tensors().items()}
    said = {
        "step": str(progress.done),
        "seconds": str(progress.seconds),
        "recipe": json.dumps(asdict(recipe)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    save_file({name: t.contiguous() for name, t in tensors.items()}, draft, metadata=said)
    draft.replace(path)


def load_state(path: Path, student: Student, optimizer: Optimizer, recipe: Recipe) -> Progress:
    """Read what `save_state` wrote; returns how far it was."""
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
    return Progress(recipe, int(said["step"]), float(said["seconds"]))


def train(
    recipe: Recipe,
    state: Path,
    device: torch.device,
    pool: Executor,
    save_every: int = 250,
    until: int | None = None,
) -> tuple[Any, Any, float]:
    """Train, from the saved state where there is one; returns model, tokenizer, seconds spent."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    tokenizer = build_tokenizer()
    student = (
        Student(build_model(tokenizer, recipe.seed), recipe.seed, recipe.parts).to(device).train()
    )
    optimizer = Optimizer(student, recipe)
    known = state.is_file()
    progress = load_state(state, student, optimizer, recipe) if known else Progress(recipe)
    # On a CPU the flash kernel's backward pass takes three times as long as plain products.
    with sdpa_kernel(SDPBackend.MATH):
        for batch in batches(recipe, progress.done, Collator(tokenizer), pool):
            if isinstance(batch, Glances):
                answers, patches = torch.zeros(()), student.look(batch)
                torch.autograd.backward(patches)
            else:
                answers, patches = student.answer(batch)
                torch.autograd.backward(answers + recipe.patches * patches)
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step(progress.done)
            progress.add(float(answers.detach()), float(patches.detach()))
            if progress.done % save_every == 0 or progress.done in (until, recipe.total):
                save_state(state, student, optimizer, progress, recipe)
            if progress.done == until:
                break
    return student.model.eval(), tokenizer, progress.seconds


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the checkpoint.  [default: WORK/checkpoint; with --check, the one of the package]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("runs/train"),
    show_default=True,
    help="Where an unfinished training is kept, to go on with.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--looks",
    type=click.IntRange(0),
    default=Recipe.looks,
    show_default=True,
    help="Steps of vision alone.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=Recipe.steps,
    show_default=True,
    help="Steps of the whole model.",
)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option(
    "--drawers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that draw clips.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Threads of the model on a CPU.",
)
@click.option(
    "--check", is_flag=True, help="Only compare the checkpoint with its recorded figures."
)
@click.option(
    "--clips", type=click.IntRange(1), default=CLIPS, show_default=True, help="Clips of the exam."
)
def main(
    out: Path | None,
    work: Path,
    seed: int,
    looks: int,
    steps: int,
    device: str,
    drawers: int,
    threads: int,
    check: bool,
    clips: int,
) -> None:
    """Train the backbone, write its checkpoint, and record what it can do."""
    torch.set_num_threads(threads)
    with ProcessPoolExecutor(drawers, mp_context=get_context("spawn")) as pool:
        if check:
            _check(out or CHECKPOINT, pool, clips)
            return
        out = out or work / "checkpoint"
        recipe = Recipe(seed=seed, looks=looks, steps=steps)
        state = work / "state.safetensors"
        model, tokenizer, seconds = train(recipe, state, torch.device(device), pool)
        write_checkpoint(out, model, tokenizer)
        training = {
            "recipe": asdict(recipe),
            "parameters": sum(p.numel() for p in model.parameters()),
            "minutes": round(seconds / 60, 1),
            "where": f"{device}, {threads} thread(s) and {drawers} process(es) that draw",
        }
        answered = take(out, pool, clips)
    record(out, answered, training)
    click.echo(figures_text(figures(answered)))


def _check(folder: Path, pool: Executor, clips: int) -> None:
    try:
        most = recorded_exam(folder)["clips"]
    except FileNotFoundError as error:
        raise click.ClickException(
            f"{error.filename}: no figures are recorded there; name a folder that demo.train wrote"
        ) from None
    if clips > most:
        raise click.ClickException(f"{folder}: only {most} clips are recorded; lower --clips")
    answered = take(folder, pool, clips)
    click.echo(figures_text(figures(answered)))
    others = differences(folder, answered)
    for line in others:
        click.echo(line)
    # Another processor rounds otherwise: a few answers lie on the edge.
    if len(others) > 0.01 * clips:
        raise click.ClickException(
            f"{len(others)} answers of {clips} clips are not the recorded ones"
        )
    click.echo(f"the recorded figures hold: {len(others)} of {2 * clips} answers differ")


if __name__ == "__main__":
    main()
