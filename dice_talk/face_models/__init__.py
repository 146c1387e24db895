"""MediaPipe's face detectors, face mesh and person segmentation, without MediaPipe. See docs/decisions/0006."""

from dice_talk.face_models.detection import Detection, FaceDetector, face_view, far, near
from dice_talk.face_models.mesh import ALL_PARTS, LIPS, FaceMesh, load_mesh
from dice_talk.face_models.segmentation import Mask, PersonSegmenter, load_segmenter
from dice_talk.face_models.views import Points, View

__all__ = [
    "ALL_PARTS",
    "LIPS",
    "Detection",
    "FaceDetector",
    "FaceMesh",
    "Mask",
    "PersonSegmenter",
    "Points",
    "View",
    "face_view",
    "far",
    "load_mesh",
    "load_segmenter",
    "near",
]
