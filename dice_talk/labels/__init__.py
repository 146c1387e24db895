"""Labels that mark a video as synthetic: which labels exist, and which of them a file carries.

`stamp` draws the visible label. `xmp` and `signature` put the machine-readable labels into a file. `reading` finds the
labels in any file. docs/labels.md says what the law requires, and where.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

AIGC = "AIGC"
"""The metadata field of GB 45438-2025."""
IS_SYNTHETIC = "1"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Prefix of the terms of IPTC's DigitalSourceType."""
WORDS = {"zh": "AI生成", "en": "AI-generated", "both": "AI生成 AI-generated"}
"""The built-in texts of the visible label."""
GLYPHS = "".join(map(chr, range(0x20, 0x7F))) + "人工智能生成合成由制作本视频内容为虚拟数字形象·—，。"
"""The characters in the font in `font/`, which scripts/derive_label_font.py makes."""

Shown = Literal["off", "start", "always"]
Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]


class LabelOptions(BaseModel):
    """The operator's settings for the labels of all videos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content_producer: str = Field(
        "DICE-Talk Server",
        min_length=1,
        max_length=200,
        description="Who makes the videos: a name, or a code of 27 characters; ContentProducer of their AIGC field.",
    )
    visible_label: Shown = Field(
        "off", description="Whether a label is drawn into the picture: for the first two seconds, or always."
    )
    visible_label_text: str = Field(
        "both",
        min_length=1,
        max_length=24,
        description="What it says: zh (AI生成), en (AI-generated), both, or own words.",
    )
    visible_label_corner: Corner = Field("bottom-right", description="Where it stands.")
    c2pa_certificates: Path | None = Field(
        None,
        description="PEM file of the certificate that videos are signed with, and those above it, in this order.",
    )
    c2pa_private_key: Path | None = Field(
        None, validate_default=True, description="PEM file of its private key, which no other user may read."
    )

    @field_validator("visible_label_text")
    @classmethod
    def _can_be_drawn(cls, text: str) -> str:
        words = WORDS.get(text, text)
        if missing := "".join(dict.fromkeys(letter for letter in words if letter not in GLYPHS)):
            raise ValueError(
                f"the label's font has no {missing}; it has the letters, digits and signs of ASCII, and {GLYPHS[95:]}"
            )
        if not words.strip():
            raise ValueError("the label would be blank; choose zh, en, both, or own words")
        return text

    @field_validator("c2pa_private_key")
    @classmethod
    def _makes_a_pair(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (key is None) != (info.data.get("c2pa_certificates") is None):
            raise ValueError("c2pa_certificates and c2pa_private_key are needed together")
        return key

    @property
    def words(self) -> str | None:
        """The text drawn into the picture, or None."""
        return None if self.visible_label == "off" else WORDS.get(self.visible_label_text, self.visible_label_text)

    def without_visible(self) -> "LabelOptions":
        """Return these options without the visible label."""
        return self.model_copy(update={"visible_label": "off"})

    @classmethod
    def part_of(cls, more: "LabelOptions") -> "LabelOptions":
        """Return the label options contained in `more`."""
        return LabelOptions(**{name: getattr(more, name) for name in LabelOptions.model_fields})


class Labels(LabelOptions):
    """The labels of one file."""

    produce_id: str = ""
    source_type: str = "compositeSynthetic"  # a term of IPTC's DigitalSourceType

    @classmethod
    def of(cls, options: LabelOptions, produce_id: str, source_type: str) -> "Labels":
        """Apply the operator's options to one video."""
        return cls(**options.model_dump(), produce_id=produce_id, source_type=source_type)

    @property
    def aigc(self) -> str:
        """The AIGC field: a JSON object with the standard's keys in the standard's order."""
        fields = {
            "Label": IS_SYNTHETIC,
            "ContentProducer": self.content_producer,
            "ProduceID": self.produce_id,
            "ReservedCode1": "",
            "ContentPropagator": "",
            "PropagateID": "",
            "ReservedCode2": "",
        }
        return json.dumps(fields, ensure_ascii=False)

    @property
    def comment_fields(self) -> dict[str, Any]:
        """Describe the visible label for the file's comment, so that programs can find it."""
        return {"visible_label": {"text": self.words, "shown": self.visible_label}} if self.words else {}

    @property
    def signed(self) -> bool:
        """Whether the file is signed."""
        return self.c2pa_private_key is not None


UNNAMED = Labels()
"""Labels of files that do not belong to a task."""
