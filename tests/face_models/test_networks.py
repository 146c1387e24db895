import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dice_talk.errors import EngineUnavailable
from dice_talk.face_models import networks


@pytest.mark.parametrize("file", sorted(networks.SHA256))
def test_a_damaged_file_is_named_and_what_to_do(tmp_path: Path, file: str) -> None:
    shutil.copy(networks.FOLDER / file, tmp_path)
    assert networks.read(file, tmp_path) == (networks.FOLDER / file).read_bytes()
    content = bytearray((tmp_path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(EngineUnavailable) as raised:
        networks.read(file, tmp_path)
    assert file in str(raised.value)
    assert "git checkout dice_talk/face_models" in str(raised.value.detail)


def test_every_file_of_the_folder_is_checked() -> None:
    models = {file.name for file in networks.FOLDER.iterdir() if file.suffix in (".tflite", ".json")}
    assert models == set(networks.SHA256)


def test_looking_at_a_picture_says_nothing_and_starts_no_threads(portrait: Path) -> None:
    code = """
import sys, threading
from pathlib import Path
from dice_talk.image import load_portrait
from dice_talk.lite.models import load_face_models, find_face, person_mask
models, picture = load_face_models(), load_portrait(Path(sys.argv[1]))
find_face(models, picture, 0), person_mask(models, picture)
print(len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 1)
"""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(portrait)], capture_output=True, text=True, check=True, env=variables
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "")
