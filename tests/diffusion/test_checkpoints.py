"""Loading: every published key and shape, nothing missing, nothing more, and no code from a pickle."""

import json
import lzma
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NO_TORCH
from tests.diffusion.conftest import COMMITTED

torch = pytest.importorskip("torch", reason=NO_TORCH)

from dice_talk.diffusion import checkpoints, files
from dice_talk.diffusion.checkpoints import load_models
from dice_talk.diffusion.checksums import Checksum, checksum_of, checksums, note
from dice_talk.errors import EngineUnavailable

MANIFEST = json.loads(lzma.decompress((COMMITTED / "manifest.json.xz").read_bytes()))
WHISPER_TINY = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
NOT_USED = {
    "emo_model": ("classifier.", "codebook.fc."),
    "rife_flownet": ("module.block_tea.",),
    "whisper_tiny": ("decoder.",),
}


def published(part: str) -> dict[str, Any]:
    return {key: torch.empty(shape, device="meta") for key, shape in MANIFEST[part]["keys"].items()}


def build(part: str, state: dict[str, Any]) -> Any:
    configs = {**MANIFEST["_configs"], "whisper_tiny": WHISPER_TINY}
    functions: dict[str, Any] = {"rife_flownet": checkpoints.ifnet, "whisper_tiny": checkpoints.whisper}
    function = functions.get(part) or getattr(checkpoints, part)
    return function(configs[part], state) if part in configs else function(state)


PARTS = [part for part in MANIFEST if not part.startswith("_")]


@pytest.mark.parametrize("part", PARTS)
def test_published_keys_load_strictly(part: str) -> None:
    state = published(part)
    module = build(part, state)
    used = {key for key in state if not key.startswith(NOT_USED.get(part, ("no such key",)))}
    assert sum(value.numel() for value in module.state_dict().values()) == sum(state[key].numel() for key in used)
    assert not module.training


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_key_is_named(part: str) -> None:
    state = published(part)
    key = next(key for key in reversed(list(state)) if not key.startswith(NOT_USED.get(part, ("no such key",))))
    del state[key]
    bare = key.removeprefix("module.").removeprefix("encoder." if part == "whisper_tiny" else "")
    with pytest.raises(EngineUnavailable) as caught:
        build(part, state)
    assert bare in str(caught.value.detail) and "1 missing" in str(caught.value.detail)


@pytest.mark.parametrize("part", PARTS)
def test_an_unexpected_key_is_named_and_not_used(part: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        module = build(part, {**published(part), "intruder.weight": torch.empty(1, device="meta")})
    assert "intruder.weight" in caplog.text and "intruder.weight" not in module.state_dict()
    unexpected = [record for record in caplog.records if "not expected" in record.message]
    assert len(unexpected) == (part != "rife_flownet"), "where keys without module. are nothing unusual"


def test_a_flownet_without_its_prefix_lacks_everything() -> None:
    state = {key.removeprefix("module."): value for key, value in published("rife_flownet").items()}
    with pytest.raises(EngineUnavailable) as caught:
        build("rife_flownet", state)
    assert "missing: block0" in str(caught.value.detail)


@pytest.mark.parametrize(
    ("part", "name"), [("unet", "UNetSpatioTemporalConditionModel"), ("vae", "AutoencoderKLTemporalDecoder")]
)
def test_configs_as_diffusers_writes_them(part: str, name: str) -> None:
    config = {**MANIFEST["_configs"][part], "_class_name": name, "_diffusers_version": "0.24.0.dev0"}
    getattr(checkpoints, part)(config, published(part))


def test_a_wrong_shape_is_named() -> None:
    state = {**published("pose_guider"), "conv_in.weight": torch.empty(16, 4, 3, 3, device="meta")}
    with pytest.raises(EngineUnavailable) as caught:
        build("pose_guider", state)
    assert "1 of another shape: conv_in.weight" in str(caught.value.detail)


def test_keys_that_inference_does_not_use_are_listed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        build("emo_model", published("emo_model"))
    assert "8 keys are not used for inference: classifier.fc1.bias" in caplog.text


def test_the_emotion_model_may_come_without_its_classifier() -> None:
    state = {key: value for key, value in published("emo_model").items() if not key.startswith("classifier.")}
    build("emo_model", state)


def test_position_ids_of_older_image_encoders_are_accepted() -> None:
    ids = {"vision_model.embeddings.position_ids": torch.arange(257)[None]}
    module = build("image_encoder", {**published("image_encoder"), **ids})
    assert module.vision_model.embeddings.position_ids.tolist() == ids["vision_model.embeddings.position_ids"].tolist()


class Intruder:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def copied(source: Path, target: Path) -> Path:
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file)
    return target


@pytest.mark.parametrize("name", [files.UNET, files.FLOWNET, files.AUDIO_LINEAR])
def test_a_pickle_is_never_run(tiny_checkpoints: Path, tmp_path: Path, name: str) -> None:
    folder = copied(tiny_checkpoints, tmp_path / "checkpoints")
    (folder / name).unlink()
    torch.save({"weight": Intruder(tmp_path / "touched")}, folder / name)
    with pytest.raises(EngineUnavailable, match="can't be read"):
        load_models(folder, torch.device("cpu"), torch.float32)
    (folder / name).write_bytes(pickle.dumps(Intruder(tmp_path / "touched"), protocol=2))
    with pytest.raises(EngineUnavailable, match="can't be read"):
        load_models(folder, torch.device("cpu"), torch.float32)
    assert not (tmp_path / "touched").exists()


def refusal(folder: Path, name: str) -> str:
    """What the operator is told of a file."""
    with pytest.raises(EngineUnavailable, match=re.escape(name)) as caught:
        load_models(folder, torch.device("cpu"), torch.float32)
    assert str(folder) not in f"{caught.value} {caught.value.detail}"
    return str(caught.value.detail)


def test_what_to_do_about_a_file_that_torch_refuses(tiny_checkpoints: Path, tmp_path: Path) -> None:
    """Without a checksum: fetch that file again. With a wrong one too. With the right one that would not help."""
    folder = copied(tiny_checkpoints, tmp_path / "checkpoints")
    (folder / files.UNET).unlink()
    torch.save({"weight": Intruder(tmp_path / "touched")}, folder / files.UNET)
    assert f"Delete {files.UNET} and run dice-talk download" in refusal(folder, files.UNET)
    note(folder, files.UNET, Checksum(1, "aa"))
    assert "not what was downloaded" in refusal(folder, files.UNET)
    note(folder, files.UNET, checksum_of(folder / files.UNET))
    said = refusal(folder, files.UNET)
    assert "fetching it again does not help" in said and "Unsupported" in said and torch.__version__ in said
    assert "elete" not in said and "weights_only" not in said
    (folder / files.UNET).unlink()
    assert refusal(folder, files.UNET) == "It is missing. Run: dice-talk download"


def test_old_style_files_load_too(tiny_checkpoints: Path, tmp_path: Path) -> None:
    folder = copied(tiny_checkpoints, tmp_path)
    state = torch.load(folder / files.FLOWNET, weights_only=True)
    (folder / files.FLOWNET).unlink()
    torch.save(state, folder / files.FLOWNET, _use_new_zipfile_serialization=False)
    load_models(folder, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("name", files.NEEDED_FILES)
def test_a_damaged_file_is_named(tiny_checkpoints: Path, tmp_path: Path, name: str) -> None:
    folder = copied(tiny_checkpoints, tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineUnavailable) as caught:
        load_models(folder, torch.device("cpu"), torch.float32)
    assert Path(name).name in str(caught.value)
    assert str(tmp_path) not in f"{caught.value} {caught.value.detail}"


def replaced(tiny: Path, folder: Path, name: str) -> Path:
    """A copy of the tiny checkpoints where one file is to be written anew."""
    copied(tiny, folder)
    (folder / name).unlink()
    return folder / name


def refused(folder: Path, name: str) -> None:
    with pytest.raises(EngineUnavailable, match=re.escape(name)) as caught:
        load_models(folder, torch.device("cpu"), torch.float32)
    assert str(folder) not in f"{caught.value} {caught.value.detail}"


@pytest.mark.parametrize("content", [[1, 2], "text", {1: torch.zeros(1)}, {"conv_in.weight": 1}, {}])
@pytest.mark.parametrize("name", [files.UNET, files.POSE_GUIDER])
def test_what_is_no_dictionary_of_tensors_is_refused(
    tiny_checkpoints: Path, tmp_path: Path, name: str, content: Any
) -> None:
    torch.save(content, replaced(tiny_checkpoints, tmp_path, name))
    refused(tmp_path, name)


@pytest.mark.parametrize("name", [files.AUDIO_LINEAR, files.EMO_MODEL, files.POSE_GUIDER])
def test_tensors_without_the_sizes_expected_are_refused(tiny_checkpoints: Path, tmp_path: Path, name: str) -> None:
    state = torch.load(tiny_checkpoints / name, weights_only=True)
    torch.save({key: torch.tensor(0.0) for key in state}, replaced(tiny_checkpoints, tmp_path, name))
    refused(tmp_path, name)


CONFIGS = [files.UNET_CONFIG, files.VAE_CONFIG, files.IMAGE_ENCODER_CONFIG, files.WHISPER_CONFIG]


@pytest.mark.parametrize("content", ['"openai/whisper-tiny"', "[]", "null", "{", "\xff"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_a_dictionary(tiny_checkpoints: Path, tmp_path: Path, name: str, content: str) -> None:
    replaced(tiny_checkpoints, tmp_path, name).write_text(content, encoding="latin-1")
    refused(tmp_path, str(Path(name).relative_to(Path(name).parents[1])))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_describes_no_network_is_refused(tiny_checkpoints: Path, tmp_path: Path, name: str) -> None:
    config = json.loads((tiny_checkpoints / name).read_text())
    senseless = {key: "x" if isinstance(value, int) else value for key, value in config.items()}
    replaced(tiny_checkpoints, tmp_path, name).write_text(json.dumps(senseless))
    refused(tmp_path, str(Path(name).relative_to(Path(name).parents[1])))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"label": 3}', "\0", '{"label": "published"'])
def test_a_broken_label_is_never_published(tmp_path: Path, content: str) -> None:
    (tmp_path / "weights.json").write_text(content)
    assert files.weights_label(tmp_path) == files.UNVERIFIED
    (tmp_path / "checksums.json").write_text(content)
    assert checksums(tmp_path) == {}


def test_half_precision_keeps_what_needs_float32(tiny_checkpoints: Path) -> None:
    models = load_models(tiny_checkpoints, torch.device("cpu"), torch.bfloat16)
    assert models.unet.dtype == models.vae.decoder.conv_in.weight.dtype == torch.bfloat16
    assert models.vae.encoder.conv_in.weight.dtype == models.vae.quant_conv.weight.dtype == torch.float32
    assert models.whisper.dtype == models.ifnet.block0.conv1[0].weight.dtype == torch.float32
    assert models.audio_linear.norm.weight.dtype == models.emo_model.emo_linear.norm.weight.dtype == torch.float32
    assert models.pose_guider.conv_in.weight.dtype == models.image_encoder.dtype == torch.bfloat16
