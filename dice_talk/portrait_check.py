"""Checks a portrait: which faces there are, what would be cropped, how large, sharp and bright the face is.

Thresholds lie between good pictures (photographs of one and of many, a painting, a statue, a drawing) and the same ones
made worse step by step; `tests/dice_talk/test_portrait_check.py` holds both sides.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dice_talk.advice import Advice
from dice_talk.errors import InvalidOptions
from dice_talk.face import Box, choose, crop_square, largest, output_size
from dice_talk.face_models import Points
from dice_talk.image import Pixels
from dice_talk.lite import topology as at
from dice_talk.lite.models import FaceModels, landmarks, load_face_models, no_face, usable
from dice_talk.measure import eye_openness
from dice_talk.options import RenderOptions

ENLARGED = 1.5
"""Enlargement for the video from which the picture looks soft."""
SMALL_IN_VIDEO = 64
"""Height of the face in pixels. The mouth is then about 20 pixels wide."""
CUT_OFF = 0.02
"""Distance to the picture's edge, as a share of the face's size, below which some of the face is missing."""
TILTED_DEG = 20.0
"""Angle between the line of the eyes and the horizon."""
CLOSED = 0.15
"""Height of an eye's opening as a share of its width: 0.08 to 0.12 if closed, over 0.2 in a laughing face."""
BLURRED = 0.006
"""Variance of the Laplacian over the mean squared gradient of a face 128 pixels high, which no change of contrast
alters: 0.013 to 0.06 for sharp faces, 0.005 to 0.007 with a blur of 1% of their height, 0.003 to 0.005 with 2%.
"""
JUDGED_HEIGHT = 128
SHARPNESS_KNOWN_FROM = 64
"""Height of the face in pixels. Smaller faces are reported as small."""
DARK, BRIGHTEST_PERCENTILE = 70, 95
"""Level of 255 below which even the lightest parts are dark. The mean would say more about the skin than the light."""
GLARING, GLARING_SHARE = 250, 0.3

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class PortraitFacts:
    """What was found in a portrait. Boxes are in its pixels."""

    width: int
    height: int
    faces: list[Box]  # that can be animated, largest first
    chosen: Box | None  # of `faces`, the one that would be animated
    crop: Box | None  # the square that would be cut out
    output: tuple[int, int] | None  # width and height of the video; None where it would be too large


def check_faces(picture: Pixels, options: RenderOptions) -> tuple[PortraitFacts, list[Advice]]:
    """Check a portrait for an engine that can animate every detected face."""
    return check_portrait(load_face_models(), picture, options, needs_landmarks=False)


def check_landmarks(picture: Pixels, options: RenderOptions) -> tuple[PortraitFacts, list[Advice]]:
    """Check a portrait for an engine that needs a face's landmarks."""
    return check_portrait(load_face_models(), picture, options, needs_landmarks=True)


def check_portrait(
    models: FaceModels, picture: Pixels, options: RenderOptions, *, needs_landmarks: bool
) -> tuple[PortraitFacts, list[Advice]]:
    """Check a portrait. `needs_landmarks`: a face without them cannot be animated."""
    height, width = picture.shape[:2]
    boxes = largest(models.detector(picture))
    faces: list[tuple[Box, Points | None]]
    if needs_landmarks:
        faces = [*usable(models, picture, boxes)]
    else:
        faces = [(box, landmarks(models, picture, box)) for box in boxes]
    advice: list[Advice] = []
    chosen: tuple[Box, Points | None] | None = None
    if not faces:
        advice.append(Advice.of("no_face", no_face(boxes)))
    else:
        try:
            chosen = choose(faces, options.face_index)
        except InvalidOptions as error:
            advice.append(Advice.of("no_such_face", error))
    crop = None
    if options.crop and chosen:
        crop = Box(*crop_square(chosen[0], options.expand_ratio, width, height))
    used_width, used_height = (crop.width, crop.height) if crop else (width, height)
    output = None
    try:
        output = output_size(round(used_width), round(used_height), options.min_resolution)
    except InvalidOptions as error:
        advice.append(Advice.of("video_too_large", error))
    facts = PortraitFacts(width, height, [box for box, _ in faces], chosen and chosen[0], crop, output)
    if chosen:
        advice += _advise_on_place(facts, chosen[0], options)
        advice += _advise_on_pose(chosen[1])
        advice += _advise_on_light(picture, chosen[0])
    return facts, advice


def _advise_on_place(facts: PortraitFacts, face: Box, options: RenderOptions) -> Iterator[Advice]:
    if len(facts.faces) > 1 and options.face_index == 0:
        yield Advice(
            "several_faces",
            f"There are {len(facts.faces)} faces in the picture; the largest is animated. Choose another with "
            "face_index: 1 is the next largest.",
        )
    if facts.output:
        yield from _advise_on_size(facts, face, facts.output, options)
    gap = CUT_OFF * face.height
    if min(face.left, face.top, facts.width - face.right, facts.height - face.bottom) < gap:
        yield Advice(
            "face_at_edge",
            "The picture's edge cuts the face off, or nearly. Use a picture that shows the whole head with some space "
            "around it.",
        )


def _advise_on_size(
    facts: PortraitFacts, face: Box, output: tuple[int, int], options: RenderOptions
) -> Iterator[Advice]:
    scale = min(output) / min((facts.crop.width, facts.crop.height) if facts.crop else (facts.width, facts.height))
    if scale > ENLARGED:
        wanted = math.ceil(face.height * scale / ENLARGED / 10) * 10
        yield Advice(
            "small_face",
            f"The face is only {face.height:.0f} pixels high and is enlarged {scale:.1f} times: the video will look "
            f"soft. Use a picture in which it is at least {wanted} pixels high, or a lower min_resolution.",
        )
    if face.height * scale < SMALL_IN_VIDEO:
        remedy = "a larger min_resolution" if options.crop else "crop=true, or a larger min_resolution"
        yield Advice(
            "face_small_in_video",
            f"The face will be only {face.height * scale:.0f} pixels high in the video: lips and eyes will hardly be "
            f"seen. Use {remedy}.",
        )


def _advise_on_pose(points: Points | None) -> Iterator[Advice]:
    if points is None:
        return
    left, right = points[at.LEFT_EYE_UPPER[0], :2], points[at.RIGHT_EYE_UPPER[-1], :2]
    tilt = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
    if abs(tilt) > TILTED_DEG:
        yield Advice(
            "tilted_face",
            f"The head is tilted by {abs(tilt):.0f} degrees. An upright head moves better: turn the picture "
            f"{'anti-clockwise' if tilt > 0 else 'clockwise'}.",
        )
    if float(eye_openness(points[:, :2])) < CLOSED:
        yield Advice("closed_eyes", "The eyes look closed, and will stay so. Use a picture with open eyes.")


def _advise_on_light(picture: Pixels, face: Box) -> Iterator[Advice]:
    grey = _grey(picture, face)
    if face.height >= SHARPNESS_KNOWN_FROM and sharpness(grey) < BLURRED:
        yield Advice("blurred_face", "The face is blurred, and will be in the video. Use a sharp picture.")
    if np.percentile(grey, BRIGHTEST_PERCENTILE) < DARK:
        yield Advice("dark_face", "The face is very dark. Use a picture taken in more light, or brighten it.")
    if np.mean(grey > GLARING) > GLARING_SHARE:
        yield Advice("glaring_face", "Much of the face is plain white. Use a picture with softer light.")


def _grey(picture: Pixels, face: Box) -> Grey:
    """Return the face in grey, at most 128 pixels high."""
    rows, columns = slice(int(face.top), math.ceil(face.bottom)), slice(int(face.left), math.ceil(face.right))
    grey = cv2.cvtColor(np.ascontiguousarray(picture[rows, columns]), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, JUDGED_HEIGHT / grey.shape[0])
    small: Grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small


def sharpness(grey: Grey) -> float:
    """Return how much finer a picture's detail is than its edges; see `BLURRED`. 1 if there is nothing to see."""
    values = grey.astype(np.float32)
    across, down = cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)
    edges = float(np.mean(across**2 + down**2))
    return float(cv2.Laplacian(values, cv2.CV_32F).var()) / edges if edges else 1.0
