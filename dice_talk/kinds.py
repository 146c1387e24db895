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
class Step:
    """What to do with a file."""

    # "Make a JPEG of it: {command}". {what} and {formats} are those of `Use`.
    words: str
    command: str = ""  # {file} is quoted for a shell


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    id: str  # "webp": for programs, so it does not change
    name: str  # "a WebP picture"
    family: Family = Family.OTHER
    extension: str = ""  # with "[0]" for ImageMagick if there may be several pictures
    step: Step | None = None  # how to convert it, if that differs from the rest of its family


@dataclass(frozen=True)
class Use:
    """What a file should have been."""

    what: str  # "picture"
    formats: str  # "JPEG or PNG"
    # How to get there from each family. OTHER is for families that have no entry here or below.
    steps: Mapping[Family, Step]
    stem: str  # of the file name used in that advice


_STEPS = {
    Family.ARCHIVE: Step("Unpack it and send the {what} inside, as {formats}."),
    Family.PAGE: Step(
        "The address that it came from may have shown a page for logging in, or an error. Send the {what} itself."
    ),
    Family.ANSWER: Step("It may be an error that another service answered. Send the {what}."),
    Family.DATA_URL: Step("Decode its base64 and send the bytes."),
    Family.POINTER: Step("Fetch the {what}: {command}", "git lfs pull"),
}


EXPLANATION = "The file is {kind}. {step}"
"""The sentences into which the values of `explain` go."""


def explain(kind: Kind, use: Use) -> dict[str, str]:
    """Return what the file is, in words and as an id, and how to get what it should be: family, step and command."""
    if kind.family in use.steps:
        family, step = kind.family, kind.step or use.steps[kind.family]
    elif kind.family in _STEPS:
        family, step = kind.family, _STEPS[kind.family]
    else:
        family, step = Family.OTHER, use.steps[Family.OTHER]
    file = shlex.quote(f"{use.stem}.{kind.extension}" if kind.extension else use.stem)
    command = step.command.format(file=file)
    return {
        "kind": kind.name,
        "kind_id": kind.id,
        "family": family.name.lower(),
        "step": step.words.format(what=use.what, formats=use.formats, command=command),
        "command": command,
    }


def _picture(id_: str, name: str, extension: str, step: Step | None = None) -> Kind:
    return Kind(id_, name, Family.PICTURE, extension, step)


def _sound(id_: str, name: str, extension: str, step: Step | None = None) -> Kind:
    return Kind(id_, name, Family.SOUND, extension, step)


def _video(id_: str, name: str, extension: str) -> Kind:
    return Kind(id_, name, Family.VIDEO, extension)


def _archive(id_: str, name: str) -> Kind:
    return Kind(id_, name, Family.ARCHIVE)


EMPTY = Kind("empty", "empty")
JPEG, PNG = _picture("jpeg", "a JPEG picture", "jpg"), _picture("png", "a PNG picture", "png")
WAV, MP3 = _sound("wav", "a WAV recording", "wav"), _sound("mp3", "an MP3 recording", "mp3")
MPEG_1, MPEG_2 = _sound("mp1", "MPEG audio layer I", "mp1"), _sound("mp2", "MPEG audio layer II (MP2)", "mp2")
AAC = _sound("aac_adts", "raw AAC (ADTS)", "aac")
_HEIC = _picture(
    "heic",
    "a HEIC picture",
    "heic",
    Step(
        "On an iPhone, choose Settings, Camera, Formats, Most Compatible; or make a JPEG of it: {command}",
        "magick {file} portrait.jpg",
    ),
)
_AVIF = _picture("avif", "an AVIF picture", "avif")
_RAW = _picture(
    "camera_raw",
    "a camera's raw picture",
    "",
    Step("Export it as JPEG with the camera's program, darktable or RawTherapee."),
)
_TIFF = _picture("tiff", "a TIFF picture", "tif")
_JPEG_2000, _JPEG_XL = (
    _picture("jpeg_2000", "a JPEG 2000 picture", "jp2"),
    _picture("jpeg_xl", "a JPEG XL picture", "jxl"),
)
_PDF, _POSTSCRIPT = _picture("pdf", "a PDF document", "pdf[0]"), _picture("postscript", "a PostScript document", "eps")
_RADIANCE = _picture("radiance", "a Radiance picture (HDR)", "hdr")
_MIDI = _sound(
    "midi",
    "a MIDI file: notes, not sound",
    "mid",
    Step("Play it to a WAV: {command}", "fluidsynth -F recording.wav font.sf2 song.mid"),
)
_SILK = _sound(
    "silk", "a SILK file (WeChat)", "silk", Step("Make a WAV of it with a SILK decoder, such as silk-v3-decoder.")
)
_MP4 = _video("mp4", "an MP4 file (AAC as a rule)", "mp4")
_NIST = _sound("nist_sphere", "a NIST SPHERE file", "sph")
_PROGRAM = Kind("program", "a program")

# Position, bytes, kind; the first match counts. Kinds that are text throughout are in `_TEXTS`.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG", PNG),
    (0, b"GIF8", _picture("gif", "a GIF picture", "gif[0]")),
    (0, b"8BPS", _picture("psd", "a Photoshop file (PSD)", "psd[0]")),
    (0, b"\0\0\0\x0cjP  ", _JPEG_2000),
    (0, b"\xff\x4f\xff\x51", _picture("jpeg_2000", "a JPEG 2000 picture", "j2k")),
    (0, b"\0\0\0\x0cJXL ", _JPEG_XL),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"II\xbc\x01", _picture("jpeg_xr", "a JPEG XR picture", "jxr")),
    (0, b"IIU\0", _RAW),  # Panasonic
    (0, b"IIRO", _RAW),  # Olympus
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (8, b"CR\x02\0", _RAW),  # Canon's, within a TIFF
    (0, b"II+\0", _TIFF),
    (0, b"MM\0+", _TIFF),
    (0, b"icns", _picture("icns", "an icon (ICNS)", "icns[0]")),
    (0, b"%PDF", _PDF),
    (0, b"%!PS", _POSTSCRIPT),
    (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"qoif", _picture("qoi", "a QOI picture", "qoi")),
    (0, b"\x76\x2f\x31\x01", _picture("openexr", "an OpenEXR picture", "exr")),
    (0, b"#?RADIANCE", _RADIANCE),
    (0, b"DDS ", _picture("dds", "a DDS picture", "dds")),
    (0, b"gimp xcf", _picture("xcf", "a GIMP file (XCF)", "xcf")),
    (0, b"\x8aMNG", _picture("mng", "an MNG animation", "mng[0]")),
    (0, b"AT&TFORM", _picture("djvu", "a DjVu document", "djvu")),
    (0, b"ID3", MP3),
    (0, b"fLaC", _sound("flac", "a FLAC file", "flac")),
    (0, b"#!AMR-WB", _sound("amr_wb", "an AMR-WB file", "awb")),
    (0, b"#!AMR", _sound("amr", "an AMR file", "amr")),
    (0, b"#!iLBC", _sound("ilbc", "an iLBC file", "lbc")),
    (0, b"#!SILK", _SILK),
    (1, b"#!SILK", _SILK),
    (8, b"AIFF", _sound("aiff", "an AIFF file", "aiff")),
    (8, b"AIFC", _sound("aiff_c", "an AIFF-C file", "aiff")),
    (8, b"8SVX", _sound("8svx", "an 8SVX file", "8svx")),
    (0, b"caff", _sound("caf", "a CAF file", "caf")),
    (0, b".snd", _sound("au", "an AU file", "au")),
    (0, b"dns.", _sound("au", "an AU file", "au")),
    (0, b"riff\x2e\x91\xcf\x11", _sound("w64", "a W64 file", "w64")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _video("asf", "a WMA or WMV file (ASF)", "wma")),
    (0, b"wvpk", _sound("wavpack", "a WavPack file", "wv")),
    (0, b"MAC ", _sound("monkeys_audio", "a Monkey's Audio file", "ape")),
    (0, b"MPCK", _sound("musepack", "a Musepack file", "mpc")),
    (0, b"MP+", _sound("musepack", "a Musepack file", "mpc")),
    (0, b"TTA1", _sound("tta", "a TTA file", "tta")),
    (0, b"DSD ", _sound("dsf", "a DSD file (DSF)", "dsf")),
    (0, b"FRM8", _sound("dsdiff", "a DSD file (DSDIFF)", "dff")),
    (0, b"Creative Voice File", _sound("voc", "a VOC file", "voc")),
    (0, b"NIST_1A", _NIST),
    (0, b".ra\xfd", _sound("realaudio", "a RealAudio file", "ra")),
    (0, b".RMF", _video("realmedia", "a RealMedia file", "rm")),
    (0, b"ADIF", _sound("aac_adif", "raw AAC (ADIF)", "aac")),
    (0, b"\x0b\x77", _sound("ac3", "raw AC-3 or E-AC-3", "ac3")),
    (0, b"\x7f\xfe\x80\x01", _sound("dts", "raw DTS", "dts")),
    (0, b"MThd", _MIDI),
    (0, b"FLV\x01", _video("flv", "an FLV video", "flv")),
    (0, b"\0\0\x01\xba", _video("mpeg", "an MPEG video", "mpg")),
    (0, b"\0\0\x01\xb3", _video("mpeg", "an MPEG video", "mpg")),
    (0, b"PK\x03\x04", _archive("zip", "a ZIP archive or an Office document")),
    (0, b"PK\x05\x06", Kind("zip_empty", "an empty ZIP archive")),
    (0, b"\x1f\x8b", _archive("gzip", "a gzip archive")),
    (0, b"BZh", _archive("bzip2", "a bzip2 archive")),
    (0, b"\xfd7zXZ", _archive("xz", "an xz archive")),
    (0, b"\x28\xb5\x2f\xfd", _archive("zstandard", "a Zstandard archive")),
    (0, b"7z\xbc\xaf", _archive("7z", "a 7z archive")),
    (0, b"Rar!", _archive("rar", "a RAR archive")),
    (257, b"ustar", _archive("tar", "a tar archive")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("office", "an old Office document")),
    (0, b"\x7fELF", _PROGRAM),
    (0, b"MZ", _PROGRAM),
    (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\xca\xfe\xba\xbe", _PROGRAM),
    (0, b"SQLite format 3", Kind("database", "a database")),
)
_HEADERS = (
    (
        re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
        _picture("bmp", "a BMP picture", "bmp"),
    ),
    (re.compile(rb"\0\0\x01\0[^\0]\0.{3}\0", re.DOTALL), _picture("ico", "an icon (ICO)", "ico[0]")),
    (re.compile(rb"\0\0\x02\0[^\0]\0.{3}\0", re.DOTALL), _picture("cur", "a cursor (CUR)", "cur[0]")),
    (re.compile(rb"P[1-6]\s+(?:\d|#)|P7\sWIDTH"), _picture("netpbm", "a Netpbm picture (PPM)", "ppm")),
    (re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]"), MP3),
    (re.compile(rb"\xff[\xe4\xe5\xf4\xf5\xfc\xfd][\x10-\xef]"), MPEG_2),
    (re.compile(rb"\xff[\xe6\xe7\xf6\xf7\xfe\xff][\x10-\xef]"), MPEG_1),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), AAC),
    (re.compile(rb"G.{187}G.{187}G", re.DOTALL), _video("mpeg_ts", "an MPEG transport stream", "ts")),
)
_RIFF = {
    b"WAVE": WAV,
    b"AVI ": _video("avi", "an AVI video", "avi"),
    b"WEBP": _picture("webp", "a WebP picture", "webp"),
    b"RMID": _MIDI,
    b"QLCM": _sound("qcp", "a QCP file", "qcp"),
    b"sfbk": Kind("sound_font", "a sound font"),
}
_OGG = (
    (b"\x80theora", _video("ogg_theora", "an OGG video (Theora)", "ogv")),
    (b"OpusHead", _sound("ogg_opus", "an OGG file (Opus)", "opus")),
    (b"\x01vorbis", _sound("ogg_vorbis", "an OGG file (Vorbis)", "ogg")),
    (b"Speex   ", _sound("ogg_speex", "an OGG file (Speex)", "spx")),
    (b"\x7fFLAC", _sound("ogg_flac", "an OGG file (FLAC)", "oga")),
)
_BRANDS = (
    (b"M4A", _sound("m4a", "an M4A file (AAC or Apple Lossless)", "m4a")),
    (b"M4B", _sound("m4b", "an M4B audio book (AAC)", "m4b")),
    (b"qt", _video("quicktime", "a QuickTime film", "mov")),
    (b"3g", _video("3gp", "a 3GP file (AMR or AAC)", "3gp")),
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
    (re.compile(r"/\* XPM"), _picture("xpm", "an XPM picture", "xpm")),
    (re.compile(r"P[1-6]\s+(?:\d|#)"), _picture("netpbm", "a Netpbm picture (PPM)", "ppm")),
    (re.compile(r"NIST_1A"), _NIST),
    (re.compile(r"\{\\rtf"), Kind("rtf", "an RTF document")),
    (re.compile(r"#EXTM3U|\[playlist\]"), Kind("playlist", "a playlist, which only names recordings")),
    (re.compile(r"data:[a-z]+/", re.IGNORECASE), Kind("data_url", "a data URL", Family.DATA_URL)),
    (re.compile(r"version https://git-lfs"), Kind("git_lfs", "a pointer of Git LFS", Family.POINTER)),
    (
        re.compile(r'\{\s*["}]|\[\s*(?:["\[{\]]|true\b|false\b|null\b|-?\d[\d.eE+-]*\s*[,\]])'),
        Kind("json", "JSON", Family.ANSWER),
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
        return next((kind for mark, kind in _OGG if mark in head[:512]), _sound("ogg", "an OGG file", "ogg"))
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
    if webm:
        return _video("webm", f"a WebM file ({codec})", "webm")
    return _video("mkv", f"an MKV file ({codec})", "mkv")


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
    return next((kind for pattern, kind in _TEXTS if pattern.match(text)), Kind("text", "text"))


def _markup(text: str) -> Kind:
    element = _ELEMENT.search(text)
    name = element[1].lower() if element else ""
    if name == "svg":
        return _picture("svg", "an SVG drawing", "svg")
    if name in _HTML_ELEMENTS or re.search(r"<!doctype\s+html", text, re.IGNORECASE):
        return Kind("html", "an HTML page", Family.PAGE)
    return Kind("xml", "an XML document", Family.PAGE)
