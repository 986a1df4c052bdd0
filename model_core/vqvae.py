"""A visual tokenizer: the VQ-VAE of van den Oord et al. 2017.

- encoder: two strided convolutions down to a quarter of the side, one that is not, residual blocks, a projection
- each vector becomes the nearest row of a codebook by squared L2, its gradient goes straight through
- decoder: the encoder in reverse, with transposed convolutions and no activation at the end
- loss: reconstruction + codebook + commitment
- codes that have fallen out of use start again where the encoder's outputs are (Dhariwal et al. 2020, section 3.1)

Shapes: B images, C channels of an image, S its side, h = w = S/4 the grid of its codes, W width, D code dim, K codes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_core import layers


@dataclass(frozen=True)
class VQVAEConfig:
    """Shape and training recipe of a visual tokenizer."""

    channels: int = 3
    image_size: int = 128
    image_tokens: int = 1_024  # what the meter counts for an image, whatever the network makes of it
    width: int = 128  # channels of the hidden layers; half of them at half the side
    residual_width: int = 32  # channels inside a residual block
    n_blocks: int = 2  # residual blocks of the encoder, and of the decoder
    n_codes: int = 1_024
    code_dim: int = 64
    commitment: float = 0.25  # weight of the commitment loss
    frequency_decay: float = 0.8  # of the average of how often a code is chosen, per update
    restart_below: float = 0.3  # a code chosen less often than this starts again; 1 is an even share
    batch_size: int = 64  # images per update
    optimizer: str = "adamw"  # for everything: what Muon would take for matrices are the kernels of convolutions
    orthogonaliser: str = "polar_express"  # of Muon
    adamw_lr: float = 1e-3
    adamw_beta1: float = 0.9
    adamw_beta2: float = 0.999
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    schedule: str = "constant"
    warmup: float = 0.0
    decay: float = 0.2
    lr_floor: float = 0.1
    ema: float = 0.0  # an average of weights would need a codebook of its own
    compile: bool = True


PRESETS = {
    "tiny": VQVAEConfig(
        channels=1,
        image_size=16,
        image_tokens=16,
        width=64,
        residual_width=16,
        n_codes=128,
        code_dim=16,
        batch_size=32,
        adamw_lr=3e-3,
        adamw_beta2=0.99,
        schedule="wsd",
        warmup=0.02,
        decay=0.5,
        lr_floor=0.0,
        compile=False,
    ),
    "full": VQVAEConfig(),
}


class Conv(nn.Module):
    """A convolution that keeps the side, or halves it with stride 2; unlike torch's, the constructor draws nothing."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.stride, self.padding = stride, (kernel - 1) // 2
        self.weight = nn.Parameter(torch.empty(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class TransposedConv(nn.Module):
    """A transposed convolution that doubles the side."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out, 4, 4))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """x + mix(relu(conv(relu(x)))), a narrow 3x3 convolution and a 1x1 back to the width."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.conv = Conv(config.width, config.residual_width, 3, bias=False)
        self.mix = Conv(config.residual_width, config.width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.relu(self.conv(F.relu(x))))  # not in place: the published sum had relu(x) for x


class Encoder(nn.Module):
    """Images -> one vector for each code, in fp32."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.down1 = Conv(config.channels, config.width // 2, 4, stride=2)
        self.down2 = Conv(config.width // 2, config.width, 4, stride=2)
        self.conv = Conv(config.width, config.width, 3)
        self.blocks = nn.ModuleList(ResidualBlock(config) for _ in range(config.n_blocks))
        self.project = Conv(config.width, config.code_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.down1(images))  # (B, W/2, S/2, S/2)
        x = F.relu(self.down2(x))  # (B, W, h, w)
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        return self.project(F.relu(x)).permute(0, 2, 3, 1).float()  # (B, h, w, D)


class Decoder(nn.Module):
    """One vector for each code -> images, in fp32."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.conv = Conv(config.code_dim, config.width, 3)
        self.blocks = nn.ModuleList(ResidualBlock(config) for _ in range(config.n_blocks))
        self.up1 = TransposedConv(config.width, config.width // 2)
        self.up2 = TransposedConv(config.width // 2, config.channels)

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv(z.permute(0, 3, 1, 2))  # (B, W, h, w)
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.up1(F.relu(x)))  # (B, W/2, S/2, S/2)
        return self.up2(x).float()  # (B, C, S, S)


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the row of codebook (K, D) at the least squared L2 distance from each vector of z: (..., D) -> (...).

    In fp32 under autocast too: bf16 cannot tell neighbours apart.
    """
    with torch.autocast(z.device.type, enabled=False):
        flat = z.float().flatten(0, -2)  # (N, D)
        distance = torch.addmm(codebook.square().sum(-1), flat, codebook.T, alpha=-2)  # (N, K), less |z|^2
    return distance.argmin(-1).view(z.shape[:-1])


def usage(codes: Tensor, n_codes: int) -> tuple[int, float]:
    """How many codes occur, and their perplexity exp(-sum p ln p), which is n_codes when all are equally frequent."""
    p = torch.bincount(codes.flatten(), minlength=n_codes) / codes.numel()
    return int((p > 0).sum()), torch.special.entr(p.double()).sum().exp().item()


class Codebook(layers.Embedding):
    """A vector for each code, and how often it was chosen lately: 1 is an even share."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__(config.n_codes, config.code_dim)
        self.config = config
        self.register_buffer("frequency", torch.empty(config.n_codes))

    @torch.no_grad()
    def restart(self, z: Tensor) -> None:
        """Moves codes that are out of use onto random ones of the vectors z (N, D), and gives them an even share.

        Without this a codebook collapses: a code that is not chosen has no gradient, and the vectors move away.
        """
        unused = self.frequency < self.config.restart_below  # (K,)
        drawn = z[torch.randint(len(z), unused.shape, device=z.device)]  # (K, D)
        self.weight.copy_(torch.where(unused[:, None], drawn, self.weight))
        self.frequency.masked_fill_(unused, 1.0)

    @torch.no_grad()
    def count(self, codes: Tensor, share: float) -> None:
        """Averages the frequencies of codes (N,) in; `share` is the part of an update's images that they belong to."""
        chosen = torch.zeros_like(self.frequency).index_add_(0, codes, torch.ones_like(codes, dtype=torch.float32))
        even = len(codes) / self.config.n_codes
        self.frequency.lerp_(chosen / even, 1 - self.config.frequency_decay**share)


class VQVAE(layers.Model):
    """Images to codes and back; a batch is images (B, C, S, S) in -1..1."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.codebook = Codebook(config)
        self.decoder = Decoder(config)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fills every tensor; each is drawn from its own generator, so adding one leaves the others as they were.

        | tensor                    | value               | why                                                       |
        | biases                    | 0                   |                                                           |
        | codebook                  | U(-1/K, 1/K)        | as published                                              |
        | kernels of convolutions   | U(+-1/sqrt(inputs)) | as published, the inputs of one output                    |
        | frequency                 | 0                   | all codes start at the encoder's outputs, with the first  |
        |                           |                     | update                                                    |
        """
        self.seed = seed
        for name, parameter in self.named_parameters():
            kind = name.removesuffix(".weight").split(".")[-1]
            if kind == "bias":
                parameter.zero_()
            elif kind == "codebook":
                parameter.copy_(self.draw(name, parameter.shape) / self.config.n_codes)
            elif kind in ("down1", "down2", "conv", "mix", "project"):
                parameter.copy_(self.draw(name, parameter.shape) / math.sqrt(parameter[0].numel()))
            elif kind in ("up1", "up2"):  # each output is reached by 2 x 2 of the 4 x 4
                parameter.copy_(self.draw(name, parameter.shape) / math.sqrt(4 * len(parameter)))
            else:
                raise ValueError(f"no initialisation for {name}: add it to {type(self).__name__}.init_weights")
        self.codebook.frequency.zero_()

    def draw(self, name: str, shape: torch.Size) -> Tensor:
        """Uniform in -1..1, from the tensor's own generator."""
        return torch.empty(shape).uniform_(-1, 1, generator=layers.generator(self.seed, "init", name))

    @property
    def batch_tokens(self) -> int:
        return self.config.batch_size * self.config.image_tokens

    def take(self, stream) -> tuple[Tensor] | None:
        batch = stream.take(self.config.batch_size)
        return None if batch is None else batch[:1]  # without the labels

    def made_up(self) -> tuple[Tensor]:
        config = self.config
        return (torch.rand(config.batch_size, config.channels, config.image_size, config.image_size) * 2 - 1,)

    def inputs(self, images: Tensor) -> tuple[Tensor]:
        return (images,)

    def encode(self, images: Tensor) -> Tensor:
        """images (B, C, S, S) -> codes (B, h, w)."""
        return nearest(self.encoder(images), self.codebook.weight)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, h, w) -> images (B, C, S, S)."""
        return self.decoder(self.codebook(codes))

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, S, S) -> what is left of them after `encode` and `decode`."""
        return self.decode(self.encode(images))

    def loss(self, images: Tensor) -> Tensor:
        """images (B, C, S, S) -> the loss of van den Oord et al. 2017, equation 3, with squared errors as means."""
        z = self.encoder(images)  # (B, h, w, D)
        e = self.codebook(self.assign(z))  # (B, h, w, D)
        straight_through = z + (e - z).detach()  # the value of e with the gradient of z
        reconstruction_loss = F.mse_loss(self.decoder(straight_through), images)
        codebook_loss = F.mse_loss(e, z.detach())
        commitment_loss = F.mse_loss(z, e.detach())
        return reconstruction_loss + codebook_loss + self.config.commitment * commitment_loss

    def assign(self, z: Tensor) -> Tensor:
        """The codes of z (B, h, w, D); in training keeps all of them in use."""
        if not self.training:
            return nearest(z, self.codebook.weight)
        self.codebook.restart(z.flatten(0, 2))
        codes = nearest(z, self.codebook.weight)
        self.codebook.count(codes.flatten(), len(z) / self.config.batch_size)
        return codes
