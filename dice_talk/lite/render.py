"""Renders a frame: redraws eyes and mouth on the canvas, then warps the canvas into the picture once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from dice_talk.image import Pixels
from dice_talk.lite.arrays import Floats
from dice_talk.lite.eyes import Eye
from dice_talk.lite.lids import draw_eye, place_lids
from dice_talk.lite.mouth import Mouth, draw_mouth
from dice_talk.lite.performance import Performance
from dice_talk.lite.relief import creases, light_at, shed
from dice_talk.lite.rig import Rig

_REFINEMENTS, _DAMPING = 3, 0.6
"""Fields say where skin goes, but a frame needs to know where it came from. The answer is found in damped steps, which
converge even where skin stretches to twice its length.
"""

_LIGHT_STEPS, _LID_STEP, _GAZE_STEP = 24, 0.001, 0.0003
"""Steps in which the light on the skin changes, and those of lids and gaze in face heights. Finer ones would not be
seen, and each costs time.
"""


def frames(rig: Rig, performance: Performance) -> Iterator[Pixels]:
    """Yield RGB frames `(H, W, 3)`. They are not reused, so the caller may keep them."""
    stage, last, lids = _set_up(rig, performance), _Pose((0, 0), (), (), ()), []
    for i in range(len(performance)):
        pose = _pose(performance, i)
        relit = pose.light != last.light
        if relit:
            shed(rig.relief, stage.light, stage.skin, *(step / _LIGHT_STEPS for step in pose.light))
            stage.canvas[rig.relief.box] = stage.skin[rig.relief.box]
        if moved := relit or pose.lids != last.lids:
            lids = [place_lids(eye, *pose.lids) for eye in stage.eyes]
        if moved or pose.gaze != last.gaze:
            for eye, lid in zip(stage.eyes, lids, strict=True):
                draw_eye(eye, lid, stage.canvas, pose.gaze)
        if relit or pose.lips != last.lips:
            draw_mouth(stage.mouth, stage.canvas, *pose.lips)
        last = pose
        yield _warp(rig, stage.canvas, performance.head[i], performance.skin[i])


class _Pose(NamedTuple):
    """What is drawn on the canvas, in steps. Whatever stays is not drawn again."""

    light: tuple[int, int]
    lids: tuple[float, ...]
    gaze: tuple[float, ...]
    lips: tuple[float, ...]


def _pose(performance: Performance, i: int) -> _Pose:
    shut, gap, tongue, calm = (
        float(track[i]) for track in (performance.shut, performance.gap, performance.tongue, performance.calm)
    )
    return _Pose(
        light=(round(calm * _LIGHT_STEPS), round(float(performance.folded[i]) * _LIGHT_STEPS)),
        lids=(shut, _step(performance.raised[i], _LID_STEP), _step(performance.squint[i], _LID_STEP)),
        gaze=(_step(performance.gaze[i, 0], _GAZE_STEP), _step(performance.gaze[i, 1], _GAZE_STEP)),
        lips=(gap, tongue, calm),
    )


def _step(value: float, step: float) -> float:
    return round(float(value) / step) * step


@dataclass(frozen=True)
class _Stage:
    """The pictures that change from frame to frame, in place."""

    skin: Pixels  # the canvas with its light, but without moved eyes and lips, which are drawn from it
    canvas: Pixels
    light: Floats
    mouth: Mouth
    eyes: list[Eye]


def _set_up(rig: Rig, performance: Performance) -> _Stage:
    skin = rig.canvas.pixels.copy()
    creased = creases(rig.canvas, rig.relief, performance.creases)
    return _Stage(
        skin=skin,
        canvas=skin.copy(),
        light=light_at(rig.relief, performance.folds, rig.skin_origin, rig.grid.step, creased),
        mouth=replace(rig.mouth, source=_part(skin, rig.mouth)),
        eyes=[replace(eye, source=_part(skin, eye)) for eye in rig.eyes if not eye.still],
    )


def _part(skin: Pixels, drawn: Eye | Mouth) -> Pixels:
    """Return the part of the skin that an eye or the mouth is drawn from. It changes with the skin."""
    height, width = drawn.source.shape[:2]
    return skin[drawn.top : drawn.top + height, drawn.left : drawn.left + width]


def _warp(rig: Rig, canvas: Pixels, head: Floats, skin: Floats) -> Pixels:
    """Warp the canvas over the unchanged picture."""
    turned = rig.nodes - _mix(head, rig.head)
    step = _mix(_DAMPING * skin, rig.skin)
    source = turned - _read(step, turned) * np.float32(1 / _DAMPING)
    turned *= _DAMPING
    for _ in range(_REFINEMENTS):
        read = _read(step, source)
        source *= 1 - _DAMPING
        source += turned
        source -= read
    source -= rig.nodes
    source *= rig.grid.step
    where = cv2.resize(source, rig.base.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    where += rig.base
    where = cv2.convertMaps(where, None, cv2.CV_16SC2)  # faster than the conversion inside `remap`
    warped = cv2.remap(canvas, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = warped.reshape(-1)
    values[rig.edge] = (rig.edge_own + values[rig.edge] * rig.edge_share).astype(np.uint8)
    frame = rig.picture.copy()
    cv2.copyTo(warped, rig.moving, frame[rig.area])
    return frame


def _mix(amounts: Floats, fields: Floats) -> Floats:
    """Return the weighted sum. A matrix product would use all cores, and so slow down another task."""
    mixed: Floats = np.einsum("k,knmc->nmc", amounts, fields)
    return mixed


def _read(field: Floats, where: Floats) -> Floats:
    read: Floats = cv2.remap(field, where, None, cv2.INTER_LINEAR)
    return read
