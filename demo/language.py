"""What the backbone is asked, and what it shall answer."""

from __future__ import annotations

from demo.acts import KINDS
from demo.light import TIMES, WEATHERS
from demo.scenes import PHRASES

DESCRIBE = (
    "Describe the video and decide whether it shows an abnormal event.",
    "Describe what happens in these frames and say whether it is abnormal.",
    "Identify any abnormal events or safety hazards in this video.",
    "Analyze the video for anomalies. Describe any violent activities, accidents, or deviations "
    "from normal patterns in detail.",
    "Describe the scene and identify if any of the abnormal events occur?",
)
"""Answered by a caption and a verdict. The first two are the pipeline's defaults, the others three
of the five questions of HeadHunt-VAD (arXiv 2512.17601)."""
CAPTION = ("Describe the video.", "What happens in these frames?")
"""Answered by a caption."""
ASK = (
    "Is it abnormal? Answer yes or no.",
    "Does the video show an abnormal event?",
    "Does the video exhibit any actions that should not happen?",
    "If there are any of the abnormal events occurred in the video that deviate from the normal "
    "scene?",
)
"""Answered by yes or no."""
VERDICTS = (" This is normal.", " This is abnormal.")
ANSWERS = ("No.", "Yes.")


def answer(question: str, caption: str, abnormal: bool) -> str:
    """The right answer to one of the questions above."""
    if question in ASK:
        return ANSWERS[abnormal]
    return caption + (VERDICTS[abnormal] if question in DESCRIBE else "")


def event_of(text: str) -> str | None:
    """The kind of act that an answer names; None where it names none, or several."""
    words = {word.strip(".,").lower() for word in text.split()}
    named = [kind.name for kind in KINDS if kind.word in words]
    return named[0] if len(named) == 1 else None


def corpus() -> list[str]:
    """Every sentence that the tokenizer must be good at."""
    captions = [
        f"{kind.told} {place} {time}{weather}."
        for kind in KINDS
        for place in PHRASES.values()
        for _, time in TIMES.values()
        for weather in WEATHERS.values()
    ]
    frames = [f"Frame{number}: " for number in range(1, 65)]
    turns = ["user\n", "assistant\n", "system\n"]
    return [*DESCRIBE, *CAPTION, *ASK, *VERDICTS, *ANSWERS, *captions, *frames, *turns]
