"""The objects that `api.app` makes and the routes use."""

from dataclasses import dataclass

from api.http.access import Access
from api.inspection.preflight import Preflight
from api.inspection.receipts import Receipts
from api.inspection.verification import Verification
from api.metrics import Metrics
from api.service.admission import Admission
from api.service.synthesis import Synthesis
from api.settings import Settings
from api.storage.files import RenderFiles


@dataclass(frozen=True)
class Services:
    """One of each per server."""

    settings: Settings
    files: RenderFiles
    metrics: Metrics
    access: Access
    admission: Admission
    synthesis: Synthesis
    preflight: Preflight
    receipts: Receipts
    verification: Verification
