"""Labels that a video carries."""

from pydantic import BaseModel, Field

from api.schemas.tasks import Timestamp


class VisibleLabel(BaseModel):
    """Of a video made by this software."""

    text: str = Field(examples=["AI生成 AI-generated"])
    shown: str = Field(description="start (for two seconds) or always.", examples=["start"])


class Signature(BaseModel):
    """Of a C2PA manifest."""

    state: str = Field(
        description="trusted; valid: it holds, but the signer is not known to this server; invalid; unchecked: this "
        "server lacks the package.",
        examples=["valid"],
    )
    signer: str | None = Field(description="The organisation that the certificate names.", examples=["Example Ltd"])
    generator: str | None = Field(description="The software that is said to have made it.", examples=["Example 1.0"])
    digital_source_type: str | None = Field(description="As in FoundLabels.", examples=["compositeSynthetic"])
    problems: list[str] = Field(description="C2PA's codes.", examples=[["signingCredential.untrusted"]])


class FoundLabels(BaseModel):
    """What a file says of being synthetic; null for what it doesn't say. Anybody can write most of it."""

    aigc: dict[str, str] | str | None = Field(
        description="China's AIGC field; as text where it is not as the standard has it.",
        examples=[{"Label": "1", "ContentProducer": "DICE-Talk Server"}],
    )
    digital_source_type: str | None = Field(
        description="IPTC's term, in XMP: compositeSynthetic or compositeWithTrainedAlgorithmicMedia in our videos.",
        examples=["compositeSynthetic"],
    )
    visible_label: VisibleLabel | None = Field(description="As our files note it; in those of others none is found.")
    c2pa: Signature | None = Field(description="A signed manifest.")


class Verified(BaseModel):
    """What is known of a video."""

    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    bytes: int = Field(examples=[212054])
    made_here: bool = Field(
        description="Whether it is, to the last bit, a video of this server, as far back as the server remembers."
    )
    made_at: Timestamp | None = Field(description="When; UTC.", examples=["2024-01-15T10:32:30"])
    labels: FoundLabels
