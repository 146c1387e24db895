"""Opens the storage that the settings name."""

from api.settings import Settings, StartError
from api.storage.files import RenderFiles
from api.storage.local import LocalFiles


def open_files(settings: Settings) -> RenderFiles:
    """Return the data folder of this machine, or an object store. Raises `StartError`."""
    if settings.storage_url is None:
        if settings.download_redirect:
            raise StartError("download_redirect needs storage_url: a folder has no address")
        return LocalFiles(settings)
    try:
        from api.storage.objects import ObjectFiles  # only who asks for it has the package
    except ImportError as error:
        raise StartError(f"storage_url needs {error.name}: ./start_server.sh install objects") from error
    return ObjectFiles.at(settings.storage_url, settings)
