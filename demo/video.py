"""Stories as H.264 files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from demo.canvas import HEIGHT, WIDTH
from demo.story import Story


def write_video(path: Path, story: Story) -> None:
    """Draw a story and write it as H.264."""
    # One thread, no tag of the encoder, and nothing decided by looking ahead: with x264's lookahead
    # about one run in five gave other bytes for the same pictures.
    options = {"preset": "veryfast", "crf": "27", "g": "60", "bf": "2", "threads": "1"}
    options["x264-params"] = "rc-lookahead=0:sync-lookahead=0:mbtree=0:b-adapt=0:scenecut=0"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=story.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, picture in enumerate(story.frames()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, story.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
