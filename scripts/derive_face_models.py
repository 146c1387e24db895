"""Makes the files of dice_talk/face_models from MediaPipe's release and compares them with the existing ones.

    python -m venv /tmp/derive && /tmp/derive/bin/pip install "ai-edge-litert==2.3.0" flatbuffers
    /tmp/derive/bin/python scripts/derive_face_models.py [--write]

MediaPipe itself is downloaded by pip and not installed. Exit code 1 when a file differs; `--write` replaces it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from flatbuffers import flexbuffers

RELEASE = "mediapipe==0.10.21"
FOLDER = Path(__file__).parent.parent / "dice_talk" / "face_models"
NEAR = "face_detection/face_detection_short_range.tflite"
FAR = "face_detection/face_detection_full_range_sparse.tflite"
MESH = "face_landmark/face_landmark_with_attention.tflite"
PERSON = "selfie_segmentation/selfie_segmentation.tflite"
PARTS = {"lips": ("conv_lips",), "left_eye": ("conv_left_eye", "conv_left_iris")}
PARTS["right_eye"] = ("conv_right_eye", "conv_right_iris")
"""The mesh's outputs for each part of the face, in the order of the custom operators that frame the parts."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace files that differ")
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as folder:
        differ = [name for name, content in derived(modules(Path(folder))) if not same(name, content, write)]
    sys.exit(bool(differ) and not write)


def modules(folder: Path) -> Path:
    """Download and unpack MediaPipe's models. Return their folder, which is below `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    for_any = ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--dest", str(folder), RELEASE]
    subprocess.run([*command, *for_any], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [f"mediapipe/modules/{name}" for name in (NEAR, FAR, MESH, PERSON)])
    return folder / "mediapipe" / "modules"


def same(name: str, content: bytes, write: bool) -> bool:
    """Return whether the existing file equals the derived one, and print the result. `write`: replace it if not."""
    file = FOLDER / name
    there = file.read_bytes() if file.exists() else b""
    equal = there == content
    print(f"{name}: {'equal' if equal else 'differs' if there else 'missing'}")
    if write and not equal:
        file.write_bytes(content)
    return equal


def derived(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file."""
    yield "face_detection_short_range.tflite", (source / NEAR).read_bytes()
    yield "selfie_segmentation.tflite", (source / PERSON).read_bytes()
    yield "face_detection_full_range.tflite", far_detector(source / FAR)
    yield "mesh_trunk.tflite", packed(trunk(load(source / MESH)))
    for number, (name, outputs) in enumerate(PARTS.items()):
        model = load(source / MESH)
        crop = int(custom(model, "TransformTensorBilinear")[number].outputs[0])
        yield f"mesh_{name}.tflite", packed(cut(model, [crop], [tensor(model, output) for output in outputs]))
    yield "mesh_regions.json", regions(load(source / MESH)).encode()


def trunk(model: Any) -> Any:
    """Return the mesh up to its custom operators."""
    features = int(custom(model, "TransformTensorBilinear")[0].inputs[0])
    outputs = [tensor(model, "output_mesh"), features, tensor(model, "conv_faceflag")]
    return cut(model, [int(model.subgraphs[0].inputs[0])], outputs)


def far_detector(file: Path) -> bytes:
    """Return the far detector with dense weights, and without the DEPTH_TO_SPACE at the end of both outputs."""
    model = load(file)
    graph = model.subgraphs[0]
    values = dense_weights(file)
    for operator in graph.operators:
        if name_of(model, operator) == "DENSIFY":
            weights = int(operator.outputs[0])
            graph.tensors[weights].buffer = len(model.buffers)
            graph.tensors[weights].sparsity = None
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values[weights].tobytes(), np.uint8)
            model.buffers.append(buffer)
    graph.operators = [operator for operator in graph.operators if name_of(model, operator) != "DENSIFY"]
    maps = [int(operator.inputs[0]) for operator in graph.operators if name_of(model, operator) == "DEPTH_TO_SPACE"]
    maps.sort(key=lambda number: graph.tensors[number].shape[-1], reverse=True)  # boxes before scores
    return packed(cut(model, [int(number) for number in graph.inputs], maps))


def dense_weights(file: Path) -> dict[int, Any]:
    """Return the dense form of a model's sparse weights, by tensor, as LiteRT computes it."""
    options = {
        "experimental_preserve_all_tensors": True,
        "experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }
    interpreter = Interpreter(str(file), **options)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros((1, 192, 192, 3), np.float32))
    interpreter.invoke()
    model = load(file)
    densified = (o for o in model.subgraphs[0].operators if name_of(model, o) == "DENSIFY")
    return {int(o.outputs[0]): interpreter.get_tensor(int(o.outputs[0])) for o in densified}


def regions(model: Any) -> str:
    """Return the options of the custom operators that frame lips and eyes, as JSON."""
    lines = []
    for name, operator in zip(PARTS, custom(model, "Landmarks2TransformMatrix"), strict=True):
        options = flexbuffers.Loads(bytes(operator.customOptions))
        if options["scale_x"] != options["scale_y"] or options["target_rotation_radians"] != 0:
            raise SystemExit(f"{name}: framed in a way that dice_talk/face_models/mesh.py does not know")
        corners = [options["left_rotation_idx"], options["right_rotation_idx"]]
        known = {"corners": corners, "scale": options["scale_x"], "points": options["subset_idxs"]}
        lines.append(f' "{name}": {json.dumps(known)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def load(file: Path) -> Any:
    """Return a model as objects that can be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(file.read_bytes()), 0))


def packed(model: Any) -> bytes:
    """Return a model as the content of a file."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def name_of(model: Any, operator: Any) -> str:
    """Return the name of an operator: "CONV_2D", or the own name of a custom one."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return str(code.customCode.decode())
    return next(str(name) for name, value in vars(schema.BuiltinOperator).items() if value == number)


def custom(model: Any, start: str) -> list[Any]:
    """Return a model's custom operators whose names begin with `start`, in the order of the file."""
    return [operator for operator in model.subgraphs[0].operators if name_of(model, operator).startswith(start)]


def tensor(model: Any, name: str) -> int:
    """Return the number of a tensor by its name."""
    return next(i for i, tensor in enumerate(model.subgraphs[0].tensors) if tensor.name.decode() == name)


def cut(model: Any, inputs: list[int], outputs: list[int]) -> Any:
    """Reduce a model to the part between these tensors, without anything that this part does not use."""
    graph = model.subgraphs[0]
    graph.operators = needed(graph, set(inputs), outputs)
    used = {int(t) for o in graph.operators for t in (*o.inputs, *o.outputs) if t >= 0} | {*inputs, *outputs}
    number = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    for operator in graph.operators:
        operator.inputs = np.array([number[int(t)] for t in operator.inputs], np.int32)
        operator.outputs = np.array([number[int(t)] for t in operator.outputs], np.int32)
    graph.inputs, graph.outputs = (np.array([number[t] for t in ends], np.int32) for ends in (inputs, outputs))
    buffers = [model.buffers[0]]
    for one in graph.tensors:
        filled = model.buffers[one.buffer].data is not None
        buffers += [model.buffers[one.buffer]] if filled else []
        one.buffer = len(buffers) - 1 if filled else 0
    model.buffers = buffers
    model.metadata = model.signatureDefs = model.metadataBuffer = None
    return model


def needed(graph: Any, inputs: Collection[int], outputs: Collection[int]) -> list[Any]:
    """Return the operators on the way from inputs to outputs."""
    wanted, kept = set(outputs), []
    for operator in reversed(graph.operators):
        made = {int(t) for t in operator.outputs}
        if made & wanted and not made <= set(inputs):
            kept.append(operator)
            wanted |= {int(t) for t in operator.inputs if t >= 0} - set(inputs)
    return kept[::-1]


if __name__ == "__main__":
    main()
