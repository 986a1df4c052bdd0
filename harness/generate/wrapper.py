"""A model of model_core as transformers calls one. `blueberry export` lays this file beside the model; the harness
never imports it.

The generated modeling_blueberry.py subclasses both classes and says which model, which preset and which `build`.
Rows are read whole: a patch may mix tokens in ways that no cache of keys and values could follow.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class CoreConfig(PretrainedConfig):  # type: ignore[misc]
    """What other programs ask of a config; the preset itself stays with the code."""

    model_type = "blueberry"

    def __init__(self, preset: Any, **others: Any) -> None:
        super().__init__(**others)
        self.vocab_size = preset.vocab_size
        self.max_position_embeddings = preset.max_seq_len


class CoreForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Logits, loss and text from a model of the core."""

    kind: ClassVar[Any] = None  # the model's class, its preset and what builds it, set by the subclass
    preset: ClassVar[Any] = None
    build: ClassVar[Any] = None
    main_input_name = "input_ids"
    _keep_in_fp32_modules_strict = ("core",)  # lower precision is autocast's, as in training

    def __init__(self, config: CoreConfig) -> None:
        super().__init__(config)
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            with torch.device("cpu"):  # whatever transformers builds on: init_weights fills what no checkpoint holds
                self.core = self.build(self.kind, self.preset, 0, "cpu")
        finally:
            torch.set_default_dtype(default)
        kept = self.core.state_dict()
        self.tables = {name: table.clone() for name, table in self.core.named_buffers() if name not in kept}
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Called for what a checkpoint has not filled: the tables."""
        for name, table in self.tables.items():
            self.core.get_buffer(name).copy_(table)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> CausalLMOutput:
        """Logits (B, T, V) of rows (B, T) that may be padded on either side; those of padding mean nothing.

        `labels` (B, T) are the rows themselves, with -100 for what is not to be predicted.
        """
        if attention_mask is None or bool(attention_mask.all()):
            logits = self.core(input_ids)
        else:
            logits = self.of_padded(input_ids, attention_mask)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def of_padded(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Padding goes behind each row, where a causal model does not see it; the logits go back to their places."""
        there = mask.bool()
        tokens, places = there.sum(1), torch.arange(mask.shape[1], device=mask.device)
        first = there.int().argmax(1)  # (B,)
        runs = (places >= first[:, None]) & (places < (first + tokens)[:, None])
        if mask.dim() != 2 or not torch.equal(runs, there):
            raise ValueError("attention_mask must be (rows, tokens), with padding at the ends of a row alone")
        turned = (places + first[:, None]) % mask.shape[1]  # (B, T)
        logits = self.core(input_ids.gather(1, turned))
        back = (places - first[:, None]) % mask.shape[1]
        return logits.gather(1, back[..., None].expand_as(logits))

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor | None]:
        """The last tokens that the model can read."""
        longest = self.config.max_position_embeddings
        mask = None if attention_mask is None else attention_mask[:, -longest:]
        return {"input_ids": input_ids[:, -longest:], "attention_mask": mask}

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False
