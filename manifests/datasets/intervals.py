"""Annotated intervals as text: what can be wrong with one."""

from __future__ import annotations

LAST_FRAME = 2**31 - 1
"""The largest frame number that a table holds."""


def wrong_interval(start: str, end: str, absence: str = "leave both empty") -> str | None:
    """What is wrong with the two frame cells of an interval, or None; both empty is no interval.

    `absence` says how the file writes that there is no interval.
    """
    if not start and not end:
        return None
    if not start or not end:
        return "only one of start_frame and end_frame is given; give both or none"
    for name, text in (("start_frame", start), ("end_frame", end)):
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            return f"{name} is {text!r}; expected a whole number of frames"
        if digits != text:
            return f"{name} is {text}; frames count from 0 ({absence} for no interval)"
        if len(digits) > 10 or int(digits) > LAST_FRAME:
            return f"{name} is {text}; expected at most {LAST_FRAME}"
    if int(start) >= int(end):
        return f"the interval [{start}, {end}) is empty; end_frame is one past the last frame"
    return None
