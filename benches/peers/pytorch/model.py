"""The model of preset `seemore` in PyTorch: image encoder -> projector -> one visual token -> character decoder."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    image_size: int = 96
    patch_size: int = 16
    vision_width: int = 512
    vision_layers: int = 3
    width: int = 128
    layers: int = 8
    heads: int = 8
    vocab_size: int = 66
    context: int = 1000
    dropout: float = 0.1
    attention: str = "math"  # math: products and softmax as written out; sdpa: PyTorch's fused attention

    @property
    def patches(self):
        return (self.image_size // self.patch_size) ** 2

    def forward_flops(self, batch, text):
        """Of the matrix products of a forward pass, multiply-adds counted twice. Of the encoder's last block only what the CLS
        row needs is counted, as seemore's own bench counts it, although PyTorch computes all of it."""
        vision, width, tokens = self.vision_width, self.width, self.patches + 1
        block = lambda width, tokens: tokens * (12 * width * width + 2 * tokens * width)
        total = self.patches * 3 * self.patch_size**2 * vision + (self.vision_layers - 1) * block(vision, tokens)
        total += tokens * 2 * vision * vision + 10 * vision * vision + 2 * tokens * vision
        total += 4 * vision * vision + 4 * vision * width + self.layers * block(width, text + 1) + text * width * self.vocab_size
        return 2 * batch * total


class Attention(nn.Module):
    def __init__(self, config, width, causal):
        super().__init__()
        self.heads, self.head, self.causal = config.heads, width // config.heads, causal
        self.dropout, self.fused = config.dropout, config.attention == "sdpa"
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, x, cache=None):
        batch, length, width = x.shape
        q, k, v = (linear(x).view(batch, length, self.heads, self.head).transpose(1, 2) for linear in (self.q, self.k, self.v))
        past = 0
        if cache is not None:
            past = cache["past"]
            cache["k"][:, :, past : past + length] = k
            cache["v"][:, :, past : past + length] = v
            cache["past"] = past + length
            k, v = cache["k"][:, :, : past + length], cache["v"][:, :, : past + length]
        if self.fused:
            dropout = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=self.causal and length > 1 and past == 0)
        else:
            scores = (q @ k.transpose(-2, -1)) * self.head**-0.5
            if self.causal and length > 1:
                keep = torch.ones(length, past + length, dtype=torch.bool, device=x.device).tril(past)
                scores = scores.masked_fill(~keep, float("-inf"))
            y = F.dropout(scores.softmax(-1), self.dropout, self.training) @ v
        return F.dropout(self.proj(y.transpose(1, 2).reshape(batch, length, width)), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, config, width, causal):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(config, width, causal)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, cache=None):
        x = x + self.attn(self.ln1(x), cache)
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class Vision(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, self.dropout = config.vision_width, config.dropout
        self.patch = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(torch.randn(1, config.patches + 1, width))
        self.blocks = nn.ModuleList(Block(config, width, False) for _ in range(config.vision_layers))
        self.ln = nn.LayerNorm(width)

    def forward(self, images):
        patches = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(patches.shape[0], -1, -1), patches], 1) + self.pos
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return self.ln(x[:, :1])


class Vlm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.vision = Vision(config)
        self.proj1 = nn.Linear(config.vision_width, 4 * config.vision_width)
        self.proj2 = nn.Linear(4 * config.vision_width, config.width)
        self.token, self.pos = nn.Embedding(config.vocab_size, config.width), nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config, config.width, True) for _ in range(config.layers))
        self.ln = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size)

    def visual(self, images):
        return F.dropout(self.proj2(F.gelu(self.proj1(self.vision(images)))), self.config.dropout, self.training)

    def decode(self, x, start=0, caches=None):
        x = x + self.pos(torch.arange(start, start + x.shape[1], device=x.device))
        for index, block in enumerate(self.blocks):
            x = block(x, caches and caches[index])
        return self.head(self.ln(x))

    def forward(self, images, ids, targets):
        """The loss; the visual token has no target."""
        logits = self.decode(torch.cat([self.visual(images), self.token(ids)], 1))[:, 1:]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))

    @torch.no_grad()
    def generate(self, images, ids, new):
        """The likeliest `new` tokens after each prompt, with a key/value cache."""
        visual = self.visual(images)
        batch, room = ids.shape[0], 1 + ids.shape[1] + new
        shape = (batch, self.config.heads, room, self.config.width // self.config.heads)
        zeros = lambda: torch.zeros(shape, device=visual.device, dtype=visual.dtype)
        caches = [{"k": zeros(), "v": zeros(), "past": 0} for _ in self.blocks]
        text = ids
        for index in range(new):
            x = torch.cat([visual, self.token(ids)], 1) if index == 0 else self.token(text[:, -1:])
            logits = self.decode(x, 0 if index == 0 else text.shape[1], caches)[:, -1]
            text = torch.cat([text, logits.argmax(-1, keepdim=True)], 1)
        return text
