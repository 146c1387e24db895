"""Previews: small pictures of a video that is being rendered, which an engine may send with its progress."""

import io

from PIL import Image

from dice_talk.image import Pixels
from dice_talk.labels import Labels

SIDE = 128
"""Longest side in pixels."""
QUALITY = 75


def encode_preview(picture: Pixels, labels: Labels) -> bytes:
    """Return an RGB picture `(H, W, 3)` as a small JPEG. Its comment says, like the video's metadata, what it is."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=QUALITY, comment=labels.aigc)
    return encoded.getvalue()
