"""Recognises the type of a file by its first bytes, regardless of its name or declared type."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

HEAD_BYTES = 4096
"""Bytes; enough for all signatures below, and for the codec's name in most Matroska files."""


class Family(Enum):
    """Families of files for which the same advice applies."""

    PICTURE = auto()
    SOUND = auto()
    VIDEO = auto()
    ARCHIVE = auto()
    PAGE = auto()
    ANSWER = auto()
    DATA_URL = auto()
    POINTER = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    name: str  # "a WebP picture"
    family: Family = Family.OTHER
    extension: str = ""  # with "[0]" for ImageMagick if there may be several pictures
    step: str = ""  # how to convert it, if that differs from the rest of its family


@dataclass(frozen=True)
class Use:
    """What a file should have been."""

    what: str  # "picture"
    formats: str  # "JPEG or PNG"
    # How to get there from each family; {file} is quoted for a shell. OTHER is for families that have no entry here or
    # below.
    steps: Mapping[Family, str]
    stem: str  # of the file name used in that advice


_STEPS = {
    Family.ARCHIVE: "Unpack it and send the {what} inside, as {formats}.",
    Family.PAGE: "The address that it came from may have shown a page for logging in, or an error. "
    "Send the {what} itself.",
    Family.ANSWER: "It may be an error that another service answered. Send the {what}.",
    Family.DATA_URL: "Decode its base64 and send the bytes.",
    Family.POINTER: "Fetch the {what}: git lfs pull",
}


EXPLANATION = "The file is {kind}. {step}"
"""The sentences into which the values of `explain` go."""


def explain(kind: Kind, use: Use) -> dict[str, str]:
    """Return what the file is, what kind of step leads to what it should be, the step, and its command, if any."""
    if kind.family in use.steps:
        family, step = kind.family, kind.step or use.steps[kind.family]
    elif kind.family in _STEPS:
        family, step = kind.family, _STEPS[kind.family]
    else:
        family, step = Family.OTHER, use.steps[Family.OTHER]
    file = shlex.quote(f"{use.stem}.{kind.extension}" if kind.extension else use.stem)
    step = step.format(what=use.what, formats=use.formats, file=file)
    command = step.partition(": ")[2].partition(". ")[0]
    return {"kind": kind.name, "family": family.name.lower(), "step": step, "command": command}


def _picture(name: str, extension: str, step: str = "") -> Kind:
    return Kind(name, Family.PICTURE, extension, step)


def _sound(name: str, extension: str, step: str = "") -> Kind:
    return Kind(name, Family.SOUND, extension, step)


def _video(name: str, extension: str) -> Kind:
    return Kind(name, Family.VIDEO, extension)


def _archive(name: str) -> Kind:
    return Kind(name, Family.ARCHIVE)


EMPTY = Kind("empty")
JPEG, PNG = _picture("a JPEG picture", "jpg"), _picture("a PNG picture", "png")
WAV, MP3 = _sound("a WAV recording", "wav"), _sound("an MP3 recording", "mp3")
MPEG_1, MPEG_2 = _sound("MPEG audio layer I", "mp1"), _sound("MPEG audio layer II (MP2)", "mp2")
AAC = _sound("raw AAC (ADTS)", "aac")
_HEIC = _picture(
    "a HEIC picture",
    "heic",
    "On an iPhone, choose Settings, Camera, Formats, Most Compatible; or make a JPEG of it: magick {file} portrait.jpg",
)
_AVIF = _picture("an AVIF picture", "avif")
_RAW = _picture("a camera's raw picture", "", "Export it as JPEG with the camera's program, darktable or RawTherapee.")
_TIFF = _picture("a TIFF picture", "tif")
_JPEG_2000, _JPEG_XL = _picture("a JPEG 2000 picture", "jp2"), _picture("a JPEG XL picture", "jxl")
_PDF, _POSTSCRIPT = _picture("a PDF document", "pdf[0]"), _picture("a PostScript document", "eps")
_RADIANCE = _picture("a Radiance picture (HDR)", "hdr")
_MIDI = _sound(
    "a MIDI file: notes, not sound", "mid", "Play it to a WAV: fluidsynth -F recording.wav font.sf2 song.mid"
)
_SILK = _sound("a SILK file (WeChat)", "silk", "Make a WAV of it with a SILK decoder, such as silk-v3-decoder.")
_MP4 = _video("an MP4 file (AAC as a rule)", "mp4")
_NIST = _sound("a NIST SPHERE file", "sph")
_PROGRAM = Kind("a program")

# Position, bytes, kind; the first match counts. Kinds that are text throughout are in `_TEXTS`.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG", PNG),
    (0, b"GIF8", _picture("a GIF picture", "gif[0]")),
    (0, b"8BPS", _picture("a Photoshop file (PSD)", "psd[0]")),
    (0, b"\0\0\0\x0cjP  ", _JPEG_2000),
    (0, b"\xff\x4f\xff\x51", _picture("a JPEG 2000 picture", "j2k")),
    (0, b"\0\0\0\x0cJXL ", _JPEG_XL),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"II\xbc\x01", _picture("a JPEG XR picture", "jxr")),
    (0, b"IIU\0", _RAW),  # Panasonic
    (0, b"IIRO", _RAW),  # Olympus
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (8, b"CR\x02\0", _RAW),  # Canon's, within a TIFF
    (0, b"II+\0", _TIFF),
    (0, b"MM\0+", _TIFF),
    (0, b"icns", _picture("an icon (ICNS)", "icns[0]")),
    (0, b"%PDF", _PDF),
    (0, b"%!PS", _POSTSCRIPT),
    (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"qoif", _picture("a QOI picture", "qoi")),
    (0, b"\x76\x2f\x31\x01", _picture("an OpenEXR picture", "exr")),
    (0, b"#?RADIANCE", _RADIANCE),
    (0, b"DDS ", _picture("a DDS picture", "dds")),
    (0, b"gimp xcf", _picture("a GIMP file (XCF)", "xcf")),
    (0, b"\x8aMNG", _picture("an MNG animation", "mng[0]")),
    (0, b"AT&TFORM", _picture("a DjVu document", "djvu")),
    (0, b"ID3", MP3),
    (0, b"fLaC", _sound("a FLAC file", "flac")),
    (0, b"#!AMR-WB", _sound("an AMR-WB file", "awb")),
    (0, b"#!AMR", _sound("an AMR file", "amr")),
    (0, b"#!iLBC", _sound("an iLBC file", "lbc")),
    (0, b"#!SILK", _SILK),
    (1, b"#!SILK", _SILK),
    (8, b"AIFF", _sound("an AIFF file", "aiff")),
    (8, b"AIFC", _sound("an AIFF-C file", "aiff")),
    (8, b"8SVX", _sound("an 8SVX file", "8svx")),
    (0, b"caff", _sound("a CAF file", "caf")),
    (0, b".snd", _sound("an AU file", "au")),
    (0, b"dns.", _sound("an AU file", "au")),
    (0, b"riff\x2e\x91\xcf\x11", _sound("a W64 file", "w64")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _video("a WMA or WMV file (ASF)", "wma")),
    (0, b"wvpk", _sound("a WavPack file", "wv")),
    (0, b"MAC ", _sound("a Monkey's Audio file", "ape")),
    (0, b"MPCK", _sound("a Musepack file", "mpc")),
    (0, b"MP+", _sound("a Musepack file", "mpc")),
    (0, b"TTA1", _sound("a TTA file", "tta")),
    (0, b"DSD ", _sound("a DSD file (DSF)", "dsf")),
    (0, b"FRM8", _sound("a DSD file (DSDIFF)", "dff")),
    (0, b"Creative Voice File", _sound("a VOC file", "voc")),
    (0, b"NIST_1A", _NIST),
    (0, b".ra\xfd", _sound("a RealAudio file", "ra")),
    (0, b".RMF", _video("a RealMedia file", "rm")),
    (0, b"ADIF", _sound("raw AAC (ADIF)", "aac")),
    (0, b"\x0b\x77", _sound("raw AC-3 or E-AC-3", "ac3")),
    (0, b"\x7f\xfe\x80\x01", _sound("raw DTS", "dts")),
    (0, b"MThd", _MIDI),
    (0, b"FLV\x01", _video("an FLV video", "flv")),
    (0, b"\0\0\x01\xba", _video("an MPEG video", "mpg")),
    (0, b"\0\0\x01\xb3", _video("an MPEG video", "mpg")),
    (0, b"PK\x03\x04", _archive("a ZIP archive or an Office document")),
    (0, b"PK\x05\x06", Kind("an empty ZIP archive")),
    (0, b"\x1f\x8b", _archive("a gzip archive")),
    (0, b"BZh", _archive("a bzip2 archive")),
    (0, b"\xfd7zXZ", _archive("an xz archive")),
    (0, b"\x28\xb5\x2f\xfd", _archive("a Zstandard archive")),
    (0, b"7z\xbc\xaf", _archive("a 7z archive")),
    (0, b"Rar!", _archive("a RAR archive")),
    (257, b"ustar", _archive("a tar archive")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("an old Office document")),
    (0, b"\x7fELF", _PROGRAM),
    (0, b"MZ", _PROGRAM),
    (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\xca\xfe\xba\xbe", _PROGRAM),
    (0, b"SQLite format 3", Kind("a database")),
)
_HEADERS = (
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), _picture("a BMP picture", "bmp")),
    (re.compile(rb"\0\0\x01\0[^\0]\0.{3}\0", re.DOTALL), _picture("an icon (ICO)", "ico[0]")),
    (re.compile(rb"\0\0\x02\0[^\0]\0.{3}\0", re.DOTALL), _picture("a cursor (CUR)", "cur[0]")),
    (re.compile(rb"P[1-6]\s+(?:\d|#)|P7\sWIDTH"), _picture("a Netpbm picture (PPM)", "ppm")),
    (re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]"), MP3),
    (re.compile(rb"\xff[\xe4\xe5\xf4\xf5\xfc\xfd][\x10-\xef]"), MPEG_2),
    (re.compile(rb"\xff[\xe6\xe7\xf6\xf7\xfe\xff][\x10-\xef]"), MPEG_1),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), AAC),
    (re.compile(rb"G.{187}G.{187}G", re.DOTALL), _video("an MPEG transport stream", "ts")),
)
_RIFF = {
    b"WAVE": WAV,
    b"AVI ": _video("an AVI video", "avi"),
    b"WEBP": _picture("a WebP picture", "webp"),
    b"RMID": _MIDI,
    b"QLCM": _sound("a QCP file", "qcp"),
    b"sfbk": Kind("a sound font"),
}
_OGG = (
    (b"\x80theora", _video("an OGG video (Theora)", "ogv")),
    (b"OpusHead", _sound("an OGG file (Opus)", "opus")),
    (b"\x01vorbis", _sound("an OGG file (Vorbis)", "ogg")),
    (b"Speex   ", _sound("an OGG file (Speex)", "spx")),
    (b"\x7fFLAC", _sound("an OGG file (FLAC)", "oga")),
)
_BRANDS = (
    (b"M4A", _sound("an M4A file (AAC or Apple Lossless)", "m4a")),
    (b"M4B", _sound("an M4B audio book (AAC)", "m4b")),
    (b"qt", _video("a QuickTime film", "mov")),
    (b"3g", _video("a 3GP file (AMR or AAC)", "3gp")),
    (b"avi", _AVIF),
    (b"hei", _HEIC),
    (b"hev", _HEIC),
    (b"crx", _RAW),
)
_BOXES = (b"moov", b"mdat", b"wide", b"moof", b"styp", b"skip", b"free")
_MATROSKA_CODECS = ((b"A_OPUS", "Opus"), (b"A_VORBIS", "Vorbis"), (b"A_AAC", "AAC"), (b"A_PCM", "PCM"))
_DNG_VERSION = (b"\x12\xc6\x01\0\x04\0\0\0", b"\xc6\x12\0\x01\0\0\0\x04")
"""The tag that distinguishes a DNG from other TIFFs, in either byte order."""

_TEXTS = (
    (re.compile(r"%PDF"), _PDF),
    (re.compile(r"%!PS"), _POSTSCRIPT),
    (re.compile(r"#\?RADIANCE"), _RADIANCE),
    (re.compile(r"/\* XPM"), _picture("an XPM picture", "xpm")),
    (re.compile(r"P[1-6]\s+(?:\d|#)"), _picture("a Netpbm picture (PPM)", "ppm")),
    (re.compile(r"NIST_1A"), _NIST),
    (re.compile(r"\{\\rtf"), Kind("an RTF document")),
    (re.compile(r"#EXTM3U|\[playlist\]"), Kind("a playlist, which only names recordings")),
    (re.compile(r"data:[a-z]+/", re.IGNORECASE), Kind("a data URL", Family.DATA_URL)),
    (re.compile(r"version https://git-lfs"), Kind("a pointer of Git LFS", Family.POINTER)),
    (
        re.compile(r'\{\s*["}]|\[\s*(?:["\[{\]]|true\b|false\b|null\b|-?\d[\d.eE+-]*\s*[,\]])'),
        Kind("JSON", Family.ANSWER),
    ),
)
_ASIDE = re.compile(r"<!--.*?-->|<\?.*?\?>", re.DOTALL)
_ELEMENT = re.compile(r"<(?:[\w.-]+:)?([a-z_][\w.-]*)", re.IGNORECASE)
_HTML_ELEMENTS = frozenset(("html", "head", "body", "title", "meta", "link", "script", "style", "div", "p", "table"))
_CONTROL = bytes(range(9)) + bytes(range(14, 27)) + bytes(range(28, 32))
_MOSTLY = 0.9


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of a file that starts with `head` (its first `HEAD_BYTES`), or None if it is unknown."""
    if not head:
        return EMPTY
    text = _decoded(head)
    if text is not None:
        return _text(text)
    for position, signature, kind in _SIGNATURES:
        if head.startswith(signature, position):
            return kind
    return _container(head) or next((kind for pattern, kind in _HEADERS if pattern.match(head)), None)


def _container(head: bytes) -> Kind | None:
    """Recognise container formats, which may hold one of several codecs."""
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _RAW if any(tag in head for tag in _DNG_VERSION) else _TIFF
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"OggS":
        return next((kind for mark, kind in _OGG if mark in head[:512]), _sound("an OGG file", "ogg"))
    if head[4:8] == b"ftyp":
        return _branded(head)
    if head[4:8] in _BOXES:
        return _MP4
    return _matroska(head) if head[:4] == b"\x1a\x45\xdf\xa3" else None


def _branded(head: bytes) -> Kind:
    """Tell MP4 and its relatives apart by the brand, or by the compatible brands if it only says "pictures"."""
    brand, end = head[8:12], min(int.from_bytes(head[:4], "big"), 256)
    others = [head[at : at + 4] for at in range(16, end, 4)]
    if brand in (b"mif1", b"msf1", b"miaf"):
        return _AVIF if b"avif" in others or b"avis" in others else _HEIC
    return next((kind for start, kind in _BRANDS if brand.startswith(start)), _MP4)


def _matroska(head: bytes) -> Kind:
    webm = b"webm" in head[:64]
    codec = next((name for mark, name in _MATROSKA_CODECS if mark in head), "Opus or Vorbis" if webm else "Matroska")
    return _video(f"a WebM file ({codec})", "webm") if webm else _video(f"an MKV file ({codec})", "mkv")


def _decoded(head: bytes) -> str | None:
    """Decode text in any encoding. Returns None for binary data."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
        return None if "\ufffd" in text[:-1] or any(ord(c) < 32 and not c.isspace() for c in text) else text.lstrip()
    if head.translate(None, _CONTROL) != head:
        return None
    text = head.decode("utf-8-sig", errors="replace")
    if "\ufffd" in text[:-1] and sum(byte < 0x80 for byte in head) < _MOSTLY * len(head):  # nor a legacy encoding
        return None
    return None if text == "\ufffd" else text.lstrip()


def _text(text: str) -> Kind:
    if re.match(r"<[!?a-z]", text, re.IGNORECASE):
        return _markup(_ASIDE.sub("", text))
    return next((kind for pattern, kind in _TEXTS if pattern.match(text)), Kind("text"))


def _markup(text: str) -> Kind:
    element = _ELEMENT.search(text)
    name = element[1].lower() if element else ""
    if name == "svg":
        return _picture("an SVG drawing", "svg")
    if name in _HTML_ELEMENTS or re.search(r"<!doctype\s+html", text, re.IGNORECASE):
        return Kind("an HTML page", Family.PAGE)
    return Kind("an XML document", Family.PAGE)
