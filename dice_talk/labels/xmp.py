"""IPTC's DigitalSourceType in an XMP packet, in its own box at the end of an MP4."""

import uuid
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from dice_talk.labels import SOURCE_TYPES
from dice_talk.labels.boxes import box, boxes

UUID = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
"""Marks boxes that hold XMP (XMP specification, part 3)."""
MAX_BYTES = 1 << 20
"""Largest packet that is read."""
NAMESPACE = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
FIELD = f"{{{NAMESPACE}}}DigitalSourceType"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{namespace}">
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def append(path: Path, source_type: str) -> None:
    """Append a packet to a finished MP4. Nothing before it moves, so offsets and fast start stay valid."""
    packet = PACKET.format(namespace=NAMESPACE, source_type=SOURCE_TYPES + source_type)
    with path.open("ab") as file:
        file.write(box(b"uuid", UUID + packet.encode()))


def source_type(file: BinaryIO) -> str | None:
    """Return the source type in an MP4's XMP: the term itself if it is one of IPTC's, else the value as it is."""
    for one in boxes(file):
        if one.kind != b"uuid" or one.end - one.start > MAX_BYTES:
            continue
        file.seek(one.start)
        content = file.read(one.end - one.start)
        if content.startswith(UUID) and (found := _parse_packet(content[len(UUID) :])):
            return found.removeprefix(SOURCE_TYPES)
    return None


def _parse_packet(packet: bytes) -> str | None:
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \r\n"))  # noqa: S314 - in a child process with limits
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        if said := element.get(FIELD) or (element.text if element.tag == FIELD else None):
            return said.strip()
    return None
