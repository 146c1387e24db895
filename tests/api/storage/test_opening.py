"""Which storage the settings name."""

import sys
from pathlib import Path

import pytest

from api.settings import Settings, StartError
from api.storage.local import LocalFiles
from api.storage.opening import open_files
from tests.conftest import NO_OBSTORE


def test_the_data_folder_by_default(settings: Settings) -> None:
    assert isinstance(open_files(settings), LocalFiles)


def test_an_object_store_by_its_address(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("obstore", reason=NO_OBSTORE)
    from api.storage.objects import ObjectFiles

    files = open_files(settings.model_copy(update={"storage_url": f"file://{tmp_path}/bucket"}))
    assert isinstance(files, ObjectFiles)
    assert not list((tmp_path / "bucket").rglob("*")), "nothing is left of what was tried"


def test_without_the_package(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("api.storage.objects", "api.storage.bucket"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StartError, match=r"storage_url needs obstore: ./start_server.sh install objects"):
        open_files(settings.model_copy(update={"storage_url": f"file://{tmp_path}/bucket"}))


def test_a_folder_cannot_be_redirected_to(settings: Settings, tmp_path: Path) -> None:
    redirecting = settings.model_copy(update={"download_redirect": True})
    with pytest.raises(StartError, match="download_redirect needs storage_url"):
        open_files(redirecting)
    pytest.importorskip("obstore", reason=NO_OBSTORE)
    with pytest.raises(StartError, match="a store that signs addresses"):
        open_files(redirecting.model_copy(update={"storage_url": f"file://{tmp_path}/bucket"}))
