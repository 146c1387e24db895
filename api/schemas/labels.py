"""Labels that a video carries."""

from pydantic import BaseModel, Field

from api.schemas.tasks import Timestamp


class VisibleLabel(BaseModel):
    """The visible label of a video made by this software."""

    text: str = Field(examples=["AI生成 AI-generated"])
    shown: str = Field(description="start (for two seconds) or always.", examples=["start"])


class Signature(BaseModel):
    """The signature of a C2PA manifest."""

    state: str = Field(
        description="trusted; valid, from a signer that this server does not know; invalid; or unchecked, because this "
        "server lacks the package.",
        examples=["valid"],
    )
    signer: str | None = Field(description="The organisation that the certificate names.", examples=["Example Ltd"])
    generator: str | None = Field(
        description="The software that made it, according to the manifest.", examples=["Example 1.0"]
    )
    digital_source_type: str | None = Field(description="As in FoundLabels.", examples=["compositeSynthetic"])
    problems: list[str] = Field(description="C2PA's codes.", examples=[["signingCredential.untrusted"]])


class FoundLabels(BaseModel):
    """What a file says about being synthetic; null for what it does not say. Anybody can write most of it."""

    aigc: dict[str, str] | str | None = Field(
        description="China's AIGC field; as text if it does not follow the standard.",
        examples=[{"Label": "1", "ContentProducer": "DICE-Talk Server"}],
    )
    digital_source_type: str | None = Field(
        description="IPTC's term, in XMP: compositeSynthetic or compositeWithTrainedAlgorithmicMedia in our videos.",
        examples=["compositeSynthetic"],
    )
    visible_label: VisibleLabel | None = Field(
        description="As noted in files of this software; it is not recognised in others."
    )
    c2pa: Signature | None = Field(description="A signed manifest.")


class Verified(BaseModel):
    """What is known about a video."""

    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    bytes: int = Field(examples=[212054])
    made_here: bool = Field(description="Whether this server made exactly this file, as far back as it remembers.")
    made_at: Timestamp | None = Field(description="When it was made; UTC.", examples=["2024-01-15T10:32:30"])
    labels: FoundLabels
