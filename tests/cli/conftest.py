from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def faceless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "wall.png"
    Image.new("RGB", (200, 200), "grey").save(path)
    return path
