"""Lists requests for videos without the visible label as CSV: `python -m api.unlabelled`. Kept for six months."""

import csv
import sys
from dataclasses import asdict

from api.settings import StartError, load_settings
from api.tasks.store import TaskStore, sqlite_url
from api.tasks.tables import StoreError

COLUMNS = ("asked_at", "task_id", "render_id", "owner", "address", "sha256")


def main() -> None:
    """Run the command."""
    try:
        settings = load_settings()
        store = TaskStore(settings.database_url or sqlite_url(settings.data_dir / "dice_talk.db"), migrate=False)
    except (StartError, StoreError) as error:
        sys.exit(str(error))
    rows = csv.DictWriter(sys.stdout, COLUMNS)
    rows.writeheader()
    rows.writerows(asdict(one) for one in store.unlabelled())
    store.close()


if __name__ == "__main__":
    main()
