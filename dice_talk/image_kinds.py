"""What a file is that should be a portrait, told by its bytes, and how a JPEG is made of it."""

import re
from dataclasses import dataclass

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Kind:
    """A kind of file that is no JPEG or PNG."""

    name: str  # "a WebP picture"
    advice: str  # one step to a JPEG


def _picture(name: str, extension: str) -> Kind:
    return Kind(name, f"Make a JPEG of it: magick portrait.{extension} portrait.jpg")


def _other(name: str, advice: str = "Send a photo of the face, as JPEG or PNG.") -> Kind:
    return Kind(name, advice)


_PHONE = "On an iPhone, choose Settings, Camera, Formats, Most Compatible; or "
_HEIC = Kind("a HEIC picture", _PHONE + "make a JPEG of it: magick portrait.heic portrait.jpg")
_RAW = Kind("a camera's raw picture", "Export it as JPEG with the camera's program, darktable or RawTherapee.")
_UNPACK = "Unpack it and send the picture inside, as JPEG or PNG."
_VIDEO = "Send one picture of it: ffmpeg -i video -frames:v 1 portrait.png"
_PAGE = "The address that it came from may have shown a page for logging in, or an error. Send the picture itself."
EMPTY = _other("empty")
UNKNOWN = _other("none of the kinds known here", "Open it in a picture viewer and save it as JPEG or PNG.")
CUT_OFF = _other("only the beginning of a JPEG or PNG", "Send the whole file.")

# Position, bytes, kind; the first that fits counts.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"GIF8", _picture("a GIF picture", "gif[0]")),
    (0, b"BM", _picture("a BMP picture", "bmp")),
    (0, b"8BPS", _picture("a Photoshop file (PSD)", "psd[0]")),
    (0, b"\0\0\0\x0cjP  ", _picture("a JPEG 2000 picture", "jp2")),
    (0, b"\xff\x4f\xff\x51", _picture("a JPEG 2000 picture", "j2k")),
    (0, b"\0\0\0\x0cJXL ", _picture("a JPEG XL picture", "jxl")),
    (0, b"\xff\x0a", _picture("a JPEG XL picture", "jxl")),
    (0, b"II\xbc\x01", _picture("a JPEG XR picture", "jxr")),
    (0, b"IIU\0", _RAW),  # Panasonic
    (0, b"IIRO", _RAW),  # Olympus
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (8, b"CR\x02\0", _RAW),  # Canon's, within a TIFF
    (0, b"II+\0", _picture("a TIFF picture", "tif")),
    (0, b"MM\0+", _picture("a TIFF picture", "tif")),
    (0, b"\0\0\1\0", _picture("an icon (ICO)", "ico[0]")),
    (0, b"\0\0\2\0", _picture("a cursor (CUR)", "cur[0]")),
    (0, b"icns", _picture("an icon (ICNS)", "icns[0]")),
    (0, b"%PDF", _picture("a PDF document", "pdf[0]")),
    (0, b"%!PS", _picture("a PostScript document", "eps")),
    (0, b"\xc5\xd0\xd3\xc6", _picture("a PostScript document", "eps")),
    (0, b"qoif", _picture("a QOI picture", "qoi")),
    (0, b"\x76\x2f\x31\x01", _picture("an OpenEXR picture", "exr")),
    (0, b"#?RADIANCE", _picture("a Radiance picture (HDR)", "hdr")),
    (0, b"DDS ", _picture("a DDS picture", "dds")),
    (0, b"gimp xcf", _picture("a GIMP file (XCF)", "xcf")),
    (0, b"\x8aMNG", _picture("an MNG animation", "mng[0]")),
    (0, b"AT&TFORM", _picture("a DjVu document", "djvu")),
    (0, b"/* XPM", _picture("an XPM picture", "xpm")),
    (0, b"fLaC", _other("a FLAC recording")),
    (0, b"OggS", _other("an OGG recording or video", _VIDEO)),
    (0, b"ID3", _other("an MP3 recording")),
    (0, b"\xff\xfb", _other("an MP3 recording")),
    (0, b"\xff\xf3", _other("an MP3 recording")),
    (0, b"#!AMR", _other("an AMR recording")),
    (0, b"\x1a\x45\xdf\xa3", _other("a WebM or MKV video", _VIDEO)),
    (0, b"FLV\x01", _other("an FLV video", _VIDEO)),
    (0, b"\0\0\x01\xba", _other("an MPEG video", _VIDEO)),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _other("a WMV or WMA file", _VIDEO)),
    (0, b"PK\x03\x04", _other("a ZIP archive or an Office document", _UNPACK)),
    (0, b"\x1f\x8b", _other("a gzip archive", _UNPACK)),
    (0, b"7z\xbc\xaf", _other("a 7z archive", _UNPACK)),
    (0, b"Rar!", _other("a RAR archive", _UNPACK)),
    (0, b"\x7fELF", _other("a program")),
    (0, b"MZ", _other("a program")),
)
_RIFF = {
    b"WEBP": _picture("a WebP picture", "webp"),
    b"WAVE": _other("a WAV recording"),
    b"AVI ": _other("an AVI video", _VIDEO),
}
_BRANDS = (
    (b"avif", _picture("an AVIF picture", "avif")),
    (b"avis", _picture("an AVIF picture", "avif")),
    (b"crx ", _RAW),
    (b"hei", _HEIC),
    (b"hev", _HEIC),
    (b"mif1", _HEIC),
    (b"msf1", _HEIC),
    (b"M4A", _other("an M4A recording")),
)
_DNG_VERSION = (b"\x12\xc6\x01\0\x04\0\0\0", b"\xc6\x12\0\x01\0\0\0\x04")
"""The tag that tells a DNG from another TIFF, in either byte order."""
_MARKUP = (
    (re.compile(r"<!doctype html|<html|<head|<body", re.IGNORECASE), _other("an HTML page", _PAGE)),
    (re.compile(r"<[^>]*>?.*?<svg|<svg", re.IGNORECASE | re.DOTALL), _picture("an SVG drawing", "svg")),
    (re.compile(r"<"), _other("an XML document", _PAGE)),
    (re.compile(r"data:image/"), _other("a data URL", "Decode its base64 and send the bytes.")),
    (re.compile(r"version https://git-lfs"), _other("a pointer of Git LFS", "Fetch the picture: git lfs pull")),
    (re.compile(r"[\[{]"), _other("JSON", "It may be an error that another service answered. Send the picture.")),
    (re.compile(r"P[1-7]\s"), _picture("a Netpbm picture (PPM)", "ppm")),
)
_CONTROL = bytes(range(9)) + bytes(range(14, 27)) + bytes(range(28, 32))


def kind_of(head: bytes) -> Kind:
    """The kind of a file that begins with `head` (`HEAD_BYTES` of it) and is no JPEG or PNG."""
    if not head:
        return EMPTY
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return CUT_OFF
    for position, signature, kind in _SIGNATURES:
        if head.startswith(signature, position):
            return kind
    return _container(head) or _text(head) or UNKNOWN


def _container(head: bytes) -> Kind | None:
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _RAW if any(tag in head for tag in _DNG_VERSION) else _picture("a TIFF picture", "tif")
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        size = min(max(int.from_bytes(head[:4], "big"), 16), 256)
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
        for brand, kind in _BRANDS:
            if brands[0].startswith(brand) and (brand != b"mif1" or b"avif" not in brands):
                return kind
        return _BRANDS[0][1] if b"avif" in brands else _other("an MP4 or QuickTime video", _VIDEO)
    if re.match(rb"P[1-7]\s", head):
        return _picture("a Netpbm picture (PPM)", "ppm")
    return None


def _text(head: bytes) -> Kind | None:
    """Text of any encoding, by what it begins with."""
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and head.translate(None, _CONTROL) != head:
        return None
    text = head.decode("utf-16" if wide else "utf-8-sig", errors="replace").lstrip()
    if not wide and text.count("\ufffd") > 2:
        return None
    return next((kind for pattern, kind in _MARKUP if pattern.match(text)), _other("text"))
