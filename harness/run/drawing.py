"""The untrusted side of `blueberry generate`: draws from a trained model with the arm's own samplers.

Lies beside worker.py in the folder of an arm. Every function takes the model, the header of a request and its payload,
and yields the payloads of its answers, one frame each.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from itertools import islice
from typing import Any


def seeded(torch: Any, header: dict[str, Any], device: Any) -> Any:
    return torch.Generator(device).manual_seed(header["seed"])


def prompt_ids(torch: Any, header: dict[str, Any], raw: bytes, device: Any) -> Any:
    """(1, T) int64."""
    return torch.frombuffer(bytearray(raw), dtype=torch.uint16).to(torch.int64)[None].to(device)


@functools.cache
def samplers(torch: Any, *names: str) -> list[Any]:
    """Modules of the arm's core that draw from language models, with a reader that asks more before it reads in pieces.

    The core's own compares the two ways of reading on a prompt: it cannot see a patch that looks at a neighbour where
    the prompt is one token, one that counts from a marker where the marker is the last token, or one that looks further
    back than the prompt is long. This one compares after the next token too, and again whenever the row has doubled.
    """
    sample, *others = (importlib.import_module(f"model_core.{name}") for name in ("sample", *names))

    class Reader(sample.Reader):  # type: ignore[misc, name-defined]
        def logits(self, ids: Any) -> Any:
            if ids.shape[1].bit_count() == 1:
                self.caches: Any = []
            return super().logits(ids)

        def anew(self, ids: Any) -> Any:
            following = self.whole(ids).argmax(-1, keepdim=True)
            super().anew(torch.cat((ids, following), dim=1)[:, -self.model.config.max_seq_len :])
            return self.pieces(ids) if self.in_pieces else self.whole(ids)

    sample.Reader = Reader  # type: ignore[attr-defined]
    return [sample, *others]


def text(torch: Any, model: Any, device: Any, header: dict[str, Any], raw: bytes) -> Iterator[bytes]:
    """One token (uint16) after the other, until the end token or `most` of them."""
    [sample] = samplers(torch)
    settings = sample.Sampling(**header["sampling"])
    drawn = sample.continued(model, prompt_ids(torch, header, raw, device), settings, seeded(torch, header, device))
    for token in islice(drawn, header["most"]):
        number = int(token[0])
        if number == header["end"]:
            return
        yield number.to_bytes(2, "little")


def codes(torch: Any, model: Any, device: Any, header: dict[str, Any], raw: bytes) -> Iterator[bytes]:
    """The codes (n, G) of `rows` images for one prompt, uint16, `at_once` of them in a frame."""
    sample, multimodal = samplers(torch, "multimodal")
    generator = seeded(torch, header, device)
    prompt = prompt_ids(torch, header, raw, device)
    for first in range(0, header["rows"], header["at_once"]):
        rows = min(header["at_once"], header["rows"] - first)
        settings = sample.Sampling(**header["sampling"])
        found = multimodal.draw_codes(model, prompt.expand(rows, -1), settings, generator)
        yield found.cpu().numpy().astype("<u2").tobytes()


def images(torch: Any, model: Any, device: Any, header: dict[str, Any], raw: bytes) -> Iterator[bytes]:
    """Images (n, C, S, S) float32 of the labels (n,) uint16 in the payload, `at_once` in a frame; n_classes is none."""
    flow = importlib.import_module("model_core.flow")
    generator, config = seeded(torch, header, device), model.config
    labels = torch.frombuffer(bytearray(raw), dtype=torch.uint16).to(torch.int64).to(device)
    for part in labels.split(header["at_once"]):
        shape = (len(part), config.channels, config.image_size, config.image_size)
        noise = torch.randn(shape, generator=generator, device=device)
        found = flow.sample(model, noise, part, header["steps"], header["guidance"], config.n_classes)
        yield found.float().cpu().numpy().astype("<f4").tobytes()


DRAW = {"nll": text, "captions": codes, "velocity": images}  # by the track's metric
