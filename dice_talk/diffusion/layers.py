"""The three small conditioning networks, with the parameter names of the published checkpoints.

Dimensions: B batch, F frames, T tokens, D width.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from dice_talk.diffusion.priors import PRIOR_WIDTH

_EMOTION_HEADS = 8


class TokenProjector(nn.Module):
    """Three linear layers that turn one vector into tokens: `audio_linear`, and twice in `emo_model`."""

    def __init__(self, inputs: int, hidden: int = 1024, tokens: int = 32, width: int = 1024) -> None:
        super().__init__()
        self.tokens, self.width = tokens, width
        self.proj1 = nn.Linear(inputs, hidden)
        self.proj2 = nn.Linear(hidden, hidden)
        self.proj3 = nn.Linear(hidden, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map `vectors` (..., inputs) to tokens (..., T, D)."""
        hidden = functional.relu(self.proj1(vectors))
        hidden = functional.relu(self.proj2(hidden))
        tokens: Tensor = self.norm(self.proj3(hidden).unflatten(-1, (self.tokens, self.width)))
        return tokens


class _Codebook(nn.Module):
    """64 learned emotion codes."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codebook = nn.Embedding(codes, width)


class _TokenAttention(nn.Module):
    """Multi-head attention without an output projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc_q = nn.Linear(width, width)
        self.fc_k = nn.Linear(width, width)
        self.fc_v = nn.Linear(width, width)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        """Return the attention of `query` (B, T, D) to `source` (B, S, D): (B, T, D)."""
        q, k, v = (
            layer(x).unflatten(-1, (_EMOTION_HEADS, -1)).transpose(1, 2)
            for layer, x in ((self.fc_q, query), (self.fc_k, source), (self.fc_v, source))
        )
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class EmotionModel(nn.Module):
    """`emo_model.pth` without what inference does not use: its classifier and the search for a prior's code."""

    def __init__(self, hidden: int = 1024, tokens: int = 32, width: int = 1024, codes: int = 64) -> None:
        super().__init__()
        self.emo_linear = TokenProjector(PRIOR_WIDTH, hidden, tokens, width)
        self.kv_tokens_linear = TokenProjector(width, hidden, tokens, width)
        self.codebook = _Codebook(codes, width)
        self.attention = _TokenAttention(width)

    def forward(self, priors: Tensor) -> Tensor:
        """Map `priors` (B, 256) to tokens (B, T, D). Zeros give the unconditional emotion."""
        source = self.kv_tokens_linear(self.codebook.codebook.weight[None]).flatten(1, 2).expand(len(priors), -1, -1)
        tokens: Tensor = self.attention(self.emo_linear(priors), source)
        return tokens


class PoseGuider(nn.Module):
    """Convolutions that bring the face mask to the size and width of the UNet's first features."""

    def __init__(self, out_channels: int = 320, channels: tuple[int, ...] = (16, 32, 96, 256)) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for narrow, wide in pairwise(channels):
            self.blocks.append(nn.Conv2d(narrow, narrow, 3, padding=1))
            self.blocks.append(nn.Conv2d(narrow, wide, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(channels[-1], out_channels, 3, padding=1)

    def forward(self, masks: Tensor) -> Tensor:
        """Map `masks` (B, 3, H, W) in [0, 1] to pose features (B, C, H/8, W/8)."""
        features = functional.silu(self.conv_in(masks))
        for block in self.blocks:
            features = functional.silu(block(features))
        pose: Tensor = self.conv_out(features)
        return pose
