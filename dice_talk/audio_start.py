"""Finds where the sound begins in a WAV or MP3 file, behind tags and padding."""

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

from dice_talk.error_codes import ErrorCode
from dice_talk.errors import InvalidAudio
from dice_talk.kinds import AAC, EXPLANATION, HEAD_BYTES, MP3, MPEG_1, MPEG_2, Family, Kind, Step, Use, explain, kind_of

WRONG_TYPE = "Invalid audio file type. Allowed types: ['audio/wav', 'audio/mpeg']"
SCANNED_BYTES = 1 << 20
"""How far the first frame may lie behind the last tag. FFmpeg looks just as far when it guesses a file's type."""
_SAMPLES = Step(
    "Make a WAV of it: {command}. Raw samples need their format too: "
    "ffmpeg -f s16le -ar 16000 -ac 1 -i recording recording.wav",
    "ffmpeg -i recording recording.wav",
)
_ITSELF = Step("Send the recording itself, as WAV or MP3.")
_CONVERT = Step("Make a WAV of it: {command}", "ffmpeg -i {file} recording.wav")
_RECORDING = Use(
    "recording",
    "WAV or MP3",
    {Family.SOUND: _CONVERT, Family.VIDEO: _CONVERT, Family.OTHER: _ITSELF},
    "recording",
)
_NOTHING = Kind("no_sound", "nothing but tags and zeros")
_UNKNOWN = Kind("unknown", "none of the kinds known here", step=_SAMPLES)
_BY_FRAMES = (MP3, MPEG_1, MPEG_2, AAC)
"""Kinds that are recognised by several frames, because the first match may be chance."""
_FRAMES_IN_A_ROW = 3
"""Frames of one kind in a row that rule out chance."""
_MOST_TAGS = 1000
_ID3_HEADER, _ID3_FOOTER_FLAG, _APE_HEADER = 10, 0x10, 32

_WAV_MARKS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_FRAME = re.compile(rb"\xff(?=[\xe2-\xe7\xf2-\xf7\xfa-\xff])")
_LAYERS = {3: 1, 2: 2, 1: 3}
_MPEG_1 = 3
# kbit/s by version (True for MPEG-1) and layer; ISO 11172-3 and 13818-3
_BIT_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


@dataclass(frozen=True)
class Start:
    """Where the sound begins."""

    kind: str  # "wav" or "mp3"
    position: int
    endless: bool = False  # True if the length stated in the file is wrong
    big_endian: bool = False


def find_sound(file: BinaryIO) -> Start:
    """Find the start of the sound. Raises `InvalidAudio`, which names the actual type, for other kinds of files."""
    position = 0
    for _ in range(_MOST_TAGS):
        head = _read(file, position, HEAD_BYTES)
        if head[:4] in _WAV_MARKS and head[8:12] == b"WAVE":
            return Start("wav", position, _is_unfinished(head), head[:4] == b"RIFX")
        junk = _tag_size(head)
        if not junk and (kind := kind_of(head)) and kind not in _BY_FRAMES:
            raise unsupported_type(_NOTHING if position and not head else kind)
        junk = junk or _zeros(file, position)
        if not junk or file.seek(0, os.SEEK_END) < position + junk:  # a tag may claim to be longer than the file
            return Start("mp3", position + _first_frame(_read(file, position, SCANNED_BYTES)))
        position += junk
    raise unsupported_type(_NOTHING)


def unsupported_type(kind: Kind) -> InvalidAudio:
    """Return the documented error, with what the file is and what to do."""
    return InvalidAudio(ErrorCode.AUDIO_TYPE, WRONG_TYPE, EXPLANATION, **explain(kind, _RECORDING))


def _is_unfinished(head: bytes) -> bool:
    """Return whether an RF64 or BW64 file states a length of 0, which keeps FFmpeg from reading it to its end."""
    return head[12:16] == b"ds64" and head[28:36] == bytes(8)


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _tag_size(head: bytes) -> int:
    """Return the size in bytes of the tag at the start of `head`, or 0 if there is none."""
    if head[:3] == b"ID3" and len(head) >= _ID3_HEADER and max(head[6:10]) < 0x80:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return _ID3_HEADER + size + (_ID3_HEADER if head[5] & _ID3_FOOTER_FLAG else 0)
    if head[:8] == b"APETAGEX" and len(head) >= _APE_HEADER:
        return _APE_HEADER + int.from_bytes(head[12:16], "little")
    if head[:3] == b"TAG":
        return 227 if head[3:4] == b"+" else 128
    return 0


def _zeros(file: BinaryIO, position: int) -> int:
    """Return how many zero bytes follow from `position` on."""
    file.seek(position)
    count = 0
    while block := file.read(SCANNED_BYTES):
        rest = block.lstrip(b"\0")
        count += len(block) - len(rest)
        if rest:
            break
    return count


def _first_frame(data: bytes) -> int:
    """Return the position of the first layer III frame. Raises `InvalidAudio` if there is none."""
    if _is_adts(data):
        raise unsupported_type(AAC)
    for match in _FRAME.finditer(data):
        position = match.start()
        frame = _parse(data, position)
        if frame and (position == 0 or _is_chain(data, position)):
            if frame[0] != 3:
                raise unsupported_type(MPEG_1 if frame[0] == 1 else MPEG_2)
            return position
    if data[:1] == b"\xff" and len(data) > 1 and data[1] & 0b1110_0110 == 0b1110_0010:
        return 0  # layer III, but damaged
    raise unsupported_type(_UNKNOWN)


def _parse(data: bytes, position: int) -> tuple[int, int, bytes] | None:
    """Parse the MPEG frame header at `position`: layer, size in bytes, and the bits that stay the same in all frames.

    Returns None if there is no valid header.
    """
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, _LAYERS.get(header[1] >> 1 & 3)
    index, rate = header[2] >> 4, header[2] >> 2 & 3
    if version not in _RATES or layer is None or not 0 < index < 15 or rate == 3:
        return None
    bits = _BIT_RATES[version == _MPEG_1, layer][index - 1] * 1000
    hertz, padding = _RATES[version][rate], header[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // hertz + padding) * 4
    else:
        size = (144 if layer == 2 or version == _MPEG_1 else 72) * bits // hertz + padding
    return layer, size, bytes((header[1] & 0xFE, header[2] & 0x0C))


def _is_chain(data: bytes, position: int) -> bool:
    """Return whether frames of one kind follow one another from `position` on."""
    first = frame = _parse(data, position)
    for _ in range(_FRAMES_IN_A_ROW - 1):
        if first is None or frame is None or frame[::2] != first[::2]:
            return False
        position += frame[1]
        frame = _parse(data, position)
    return frame is not None


def _is_adts(data: bytes) -> bool:
    """Return whether the data starts with two consecutive AAC frames."""
    position = 0
    for _ in range(2):
        header = data[position : position + 7]
        if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
            return False
        position += max(7, (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5)
    return True
