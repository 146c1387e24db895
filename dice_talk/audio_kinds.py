"""What a file is that should be a recording, told by its bytes, and how a WAV is made of it."""

import re
from dataclasses import dataclass

HEAD_BYTES = 4096
"""Enough for every signature below, and for the codec's name in most Matroska files."""


@dataclass(frozen=True)
class Kind:
    """A kind of file that is no WAV or MP3."""

    name: str  # "an M4A file (AAC)"
    advice: str  # one step to a WAV


def _sound(name: str, extension: str) -> Kind:
    return Kind(name, f"Make a WAV of it: ffmpeg -i recording.{extension} recording.wav")


def _no_sound(name: str, advice: str = "Send the recording itself, as WAV or MP3.") -> Kind:
    return Kind(name, advice)


UNKNOWN = Kind(
    "none of the kinds known here",
    "Make a WAV of it: ffmpeg -i recording recording.wav. Raw samples need their format too: "
    "ffmpeg -f s16le -ar 16000 -ac 1 -i recording recording.wav",
)
EMPTY, NOTHING = _no_sound("empty"), _no_sound("nothing but tags and zeros")
AAC = _sound("raw AAC (ADTS)", "aac")
MPEG_1, MPEG_2 = _sound("MPEG audio layer I", "mp1"), _sound("MPEG audio layer II (MP2)", "mp2")
_PICTURE = "a picture ({})"
_UNPACK = "Unpack it and send the recording inside, as WAV or MP3."
_MIDI = Kind("a MIDI file: notes, not sound", "Play it to a WAV: fluidsynth -F recording.wav font.sf2 song.mid")
_PAGE = "The address that it came from may have shown a page for logging in, or an error. Send the recording itself."

# Position, bytes, kind; the first that fits counts.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"fLaC", _sound("a FLAC file", "flac")),
    (0, b"#!AMR-WB", _sound("an AMR-WB file", "awb")),
    (0, b"#!AMR", _sound("an AMR file", "amr")),
    (0, b"#!iLBC", _sound("an iLBC file", "lbc")),
    (0, b"#!SILK", Kind("a SILK file", "Make a WAV of it with a SILK decoder, such as silk-v3-decoder.")),
    (1, b"#!SILK", Kind("a SILK file (WeChat)", "Make a WAV of it with a SILK decoder, such as silk-v3-decoder.")),
    (8, b"AIFF", _sound("an AIFF file", "aiff")),
    (8, b"AIFC", _sound("an AIFF-C file", "aiff")),
    (8, b"8SVX", _sound("an 8SVX file", "8svx")),
    (0, b"caff", _sound("a CAF file", "caf")),
    (0, b".snd", _sound("an AU file", "au")),
    (0, b"dns.", _sound("an AU file", "au")),
    (0, b"riff\x2e\x91\xcf\x11", _sound("a W64 file", "w64")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _sound("a WMA or WMV file (ASF)", "wma")),
    (0, b"wvpk", _sound("a WavPack file", "wv")),
    (0, b"MAC ", _sound("a Monkey's Audio file", "ape")),
    (0, b"MPCK", _sound("a Musepack file", "mpc")),
    (0, b"MP+", _sound("a Musepack file", "mpc")),
    (0, b"TTA1", _sound("a TTA file", "tta")),
    (0, b"DSD ", _sound("a DSD file (DSF)", "dsf")),
    (0, b"FRM8", _sound("a DSD file (DSDIFF)", "dff")),
    (0, b"Creative Voice File", _sound("a VOC file", "voc")),
    (0, b"NIST_1A", _sound("a NIST SPHERE file", "sph")),
    (0, b".ra\xfd", _sound("a RealAudio file", "ra")),
    (0, b".RMF", _sound("a RealMedia file", "rm")),
    (0, b"ADIF", _sound("raw AAC (ADIF)", "aac")),
    (0, b"\x0b\x77", _sound("raw AC-3 or E-AC-3", "ac3")),
    (0, b"\x7f\xfe\x80\x01", _sound("raw DTS", "dts")),
    (0, b"FLV\x01", _sound("an FLV video", "flv")),
    (0, b"\0\0\x01\xba", _sound("an MPEG video", "mpg")),
    (0, b"MThd", _MIDI),
    (0, b"\xff\xd8\xff", _no_sound(_PICTURE.format("JPEG"))),
    (0, b"\x89PNG", _no_sound(_PICTURE.format("PNG"))),
    (0, b"GIF8", _no_sound(_PICTURE.format("GIF"))),
    (0, b"BM", _no_sound(_PICTURE.format("BMP"))),
    (0, b"II*\0", _no_sound(_PICTURE.format("TIFF"))),
    (0, b"MM\0*", _no_sound(_PICTURE.format("TIFF"))),
    (0, b"8BPS", _no_sound(_PICTURE.format("PSD"))),
    (0, b"%PDF", _no_sound("a PDF document")),
    (0, b"PK\x03\x04", _no_sound("a ZIP archive or an Office document", _UNPACK)),
    (0, b"PK\x05\x06", _no_sound("an empty ZIP archive")),
    (0, b"\x1f\x8b", _no_sound("a gzip archive", _UNPACK)),
    (0, b"BZh", _no_sound("a bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ", _no_sound("an xz archive", _UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", _no_sound("a Zstandard archive", _UNPACK)),
    (0, b"7z\xbc\xaf", _no_sound("a 7z archive", _UNPACK)),
    (0, b"Rar!", _no_sound("a RAR archive", _UNPACK)),
    (257, b"ustar", _no_sound("a tar archive", _UNPACK)),
    (0, b"\x7fELF", _no_sound("a program")),
    (0, b"SQLite format 3", _no_sound("a database")),
)

_RIFF = {
    b"AVI ": _sound("an AVI video", "avi"),
    b"WEBP": _no_sound(_PICTURE.format("WebP")),
    b"RMID": _MIDI,
    b"QLCM": _sound("a QCP file", "qcp"),
    b"sfbk": _no_sound("a sound font"),
}
_OGG = (
    (b"OpusHead", _sound("an OGG file (Opus)", "opus")),
    (b"\x01vorbis", _sound("an OGG file (Vorbis)", "ogg")),
    (b"Speex   ", _sound("an OGG file (Speex)", "spx")),
    (b"\x7fFLAC", _sound("an OGG file (FLAC)", "oga")),
    (b"\x80theora", _sound("an OGG video (Theora)", "ogv")),
)
_MP4_BRANDS = (
    (b"M4A", _sound("an M4A file (AAC or Apple Lossless)", "m4a")),
    (b"M4B", _sound("an M4B audio book (AAC)", "m4b")),
    (b"qt", _sound("a QuickTime film", "mov")),
    (b"3g", _sound("a 3GP file (AMR or AAC)", "3gp")),
    (b"hei", _no_sound(_PICTURE.format("HEIC"))),
    (b"hev", _no_sound(_PICTURE.format("HEIC"))),
    (b"mif1", _no_sound(_PICTURE.format("HEIC"))),
    (b"avif", _no_sound(_PICTURE.format("AVIF"))),
    (b"crx", _no_sound(_PICTURE.format("Canon raw"))),
)
_MP4 = _sound("an MP4 file (AAC as a rule)", "mp4")
_BOXES = (b"moov", b"mdat", b"wide", b"moof", b"styp", b"skip", b"free")
_MATROSKA_CODECS = ((b"A_OPUS", "Opus"), (b"A_VORBIS", "Vorbis"), (b"A_AAC", "AAC"), (b"A_PCM", "PCM"))

_MARKUP = (
    (re.compile(r"<!doctype html|<html|<head|<body", re.IGNORECASE), _no_sound("an HTML page", _PAGE)),
    (re.compile(r"<svg", re.IGNORECASE), _no_sound(_PICTURE.format("SVG"))),
    (re.compile(r"<"), _no_sound("an XML document")),
    (re.compile(r"#EXTM3U|\[playlist\]"), _no_sound("a playlist, which only names recordings")),
    (re.compile(r"data:audio/"), _no_sound("a data URL", "Decode its base64 and send the bytes.")),
    (re.compile(r"version https://git-lfs"), _no_sound("a pointer of Git LFS", "Fetch the recording: git lfs pull")),
    (re.compile(r"[\[{]"), _no_sound("JSON", "It may be an error that another service answered. Send the recording.")),
)
_TEXT = _no_sound("text")
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(range(9)) + bytes(range(14, 27)) + bytes(range(28, 32))


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file that begins with `head` (`HEAD_BYTES` of it); None for WAV, MP3 and the unknown."""
    if not head:
        return EMPTY
    for position, signature, kind in _SIGNATURES:
        if head.startswith(signature, position):
            return kind
    return _container(head) or _text(head)


def _container(head: bytes) -> Kind | None:
    """Kinds that hold one of several codecs."""
    if head[:4] in (b"RIFF", b"RIFX"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"OggS":
        found = (kind for mark, kind in _OGG if mark in head[:512])
        return next(found, _sound("an OGG file", "ogg"))
    if head[4:8] == b"ftyp":
        brands = (kind for brand, kind in _MP4_BRANDS if head[8:].startswith(brand))
        return next(brands, _MP4)
    if head[4:8] in _BOXES:
        return _MP4
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska(head)
    if head[:1] == b"\x47" and head[188:189] == head[376:377] == b"\x47":
        return _sound("an MPEG transport stream", "ts")
    return None


def _matroska(head: bytes) -> Kind:
    webm = b"webm" in head[:64]
    codec = next((name for mark, name in _MATROSKA_CODECS if mark in head), "Opus or Vorbis" if webm else "Matroska")
    return _sound(f"a WebM file ({codec})", "webm") if webm else _sound(f"an MKV file ({codec})", "mkv")


def _text(head: bytes) -> Kind | None:
    """Text of any encoding, by what it begins with."""
    wide = head.startswith(_WIDE)
    if not wide and head.translate(None, _CONTROL) != head:
        return None
    try:
        text = head.decode("utf-16" if wide else "utf-8-sig").lstrip()
    except UnicodeDecodeError as error:
        if error.start < HEAD_BYTES - 4:  # at the end of the head, a character may be cut in two
            return None
        text = head[: error.start].decode("utf-16" if wide else "utf-8-sig").lstrip()
    return next((kind for pattern, kind in _MARKUP if pattern.match(text)), _TEXT)
