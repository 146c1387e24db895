"""Finished videos of the same speech side by side: a contact sheet, or a clip in which they play in step."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from math import ceil, sqrt
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from dice_talk.atomic import atomic_path
from dice_talk.audio import Samples
from dice_talk.image import Pixels
from dice_talk.labels import Labels, reading
from dice_talk.video import AUDIO_RATE, VideoWriter, probe

CLIP = ".mp4"
CELL = 480
"""Longest side of a cell in pixels. Eight make a clip of at most 1920 x 960, which every player takes."""
_QUALITY = 90


def make_sheet(videos: Mapping[str, Path], target: Path, *, force: bool) -> None:
    """Write the videos, by name, as the kind of file that `target` is named. It appears when it is complete."""
    with atomic_path(target, overwrite=force) as part:
        if target.suffix.lower() == CLIP:
            _clip(videos, part)
        else:
            middle = probe(next(iter(videos.values()))).frames // 2
            for number, moment in enumerate(_moments(videos)):
                if number == middle:
                    kind = "PNG" if target.suffix.lower() == ".png" else "JPEG"
                    Image.fromarray(moment).save(part, kind, quality=_QUALITY)
                    break


def _clip(videos: Mapping[str, Path], target: Path) -> None:
    """Write the clip, with the sound and the labels of the first video, but without its signature."""
    first = next(iter(videos.values()))
    info, moments = probe(first), _moments(videos)
    opening = next(moments)
    height, width = opening.shape[:2]
    with VideoWriter(
        target,
        width=width,
        height=height,
        fps=int(info.fps),
        frames=info.frames,
        sound=_speech_of(first),
        rate=AUDIO_RATE,
        metadata={"side_by_side": list(videos)},
        labels=_labels_like(first),
    ) as writer:
        writer.write(opening)
        for moment in moments:
            writer.write(moment)


def _labels_like(video: Path) -> Labels:
    found = reading.read(video)
    given = {"source_type": found.digital_source_type, "produce_id": str(uuid.uuid4())}
    if isinstance(found.aigc, dict):
        given["content_producer"] = found.aigc.get("ContentProducer")
    if found.visible_label:
        given |= {"visible_label_text": found.visible_label["text"], "visible_label": found.visible_label["shown"]}
    return Labels.model_validate({name: value for name, value in given.items() if value})


def _moments(videos: Mapping[str, Path]) -> Iterator[Pixels]:
    """Yield the videos' frames side by side, as long as all of them last: `(H, W, 3)`, both sides even."""
    columns = ceil(sqrt(len(videos)) if len(videos) < 8 else len(videos) / 2)
    with ExitStack() as stack:
        containers = [stack.enter_context(av.open(str(path))) for path in videos.values()]
        streams = [container.decode(container.streams.video[0]) for container in containers]
        for frames in zip(*streams, strict=False):
            cells = [_cell(frame, name) for frame, name in zip(frames, videos, strict=True)]
            empty = np.zeros_like(cells[0])
            cells += [empty] * (-len(cells) % columns)
            yield np.vstack([np.hstack(cells[at : at + columns]) for at in range(0, len(cells), columns)])


def _cell(frame: av.VideoFrame, name: str) -> Pixels:
    scale = min(1.0, CELL / max(frame.width, frame.height))
    width, height = (round(side * scale / 2) * 2 for side in (frame.width, frame.height))
    picture = Image.fromarray(frame.to_ndarray(format="rgb24", width=width, height=height))
    size = max(10, height // 16)
    pen = ImageDraw.Draw(picture)
    pen.text((size // 2, size // 2), name, "white", stroke_width=2, stroke_fill="black", font_size=size)
    return np.asarray(picture)


def _speech_of(video: Path) -> Samples:
    """Return the sound of a video at 48 kHz: `(n, channels)`."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(container.streams.audio[0])]
    return np.ascontiguousarray(np.concatenate(frames, axis=1).T, dtype=np.float32)
