"""Makes the font of the visible label.

    python scripts/derive_label_font.py NotoSansCJK-Bold.ttc

Needs fonttools. The file is in Debian's fonts-noto-cjk, and at https://github.com/notofonts/noto-cjk.
"""

import sys

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from dice_talk.labels import GLYPHS
from dice_talk.labels.stamp import FONT

NAME = "Noto Sans CJK SC Bold"
KEPT_NAMES = [0, 1, 2, 4, 5, 6, 13, 14]
"""Copyright, family, style, full name, version, PostScript name, licence and its address."""


def main() -> None:
    """Entry point."""
    font = next(
        one for number in range(10) if (one := TTFont(sys.argv[1], fontNumber=number))["name"].getDebugName(4) == NAME
    )
    options = Options()
    options.layout_features, options.name_IDs = ["kern"], KEPT_NAMES
    options.hinting, options.notdef_outline, options.desubroutinize = False, True, True
    subsetter = Subsetter(options)
    subsetter.populate(text=GLYPHS)
    subsetter.subset(font)
    font.save(FONT)
    print(f"{FONT}: {FONT.stat().st_size} bytes, {len(font.getBestCmap())} characters")


if __name__ == "__main__":
    main()
