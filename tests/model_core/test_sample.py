"""Drawing tokens: each rule against transformers' own, and reading in pieces against reading at once."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn
from transformers.generation import logits_process as theirs

from model_core import lm, sample, train

SMALL = dataclasses.replace(
    lm.PRESETS["tiny"], vocab_size=97, max_seq_len=16, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64
)


def built(kind=lm.LM) -> lm.LM:
    model = train.build(kind, SMALL, 0, "cpu")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3, generator=generator)
    return model


def logits(rows: int = 3) -> torch.Tensor:
    return 3 * torch.randn(rows, 97, generator=torch.Generator().manual_seed(5))


def prompt(tokens: int, rows: int = 2) -> torch.Tensor:
    return torch.randint(97, (rows, tokens), generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("penalty", [1.3, 0.8])
def test_repeats_are_penalised_as_transformers_does_it(penalty):
    context = prompt(6, rows=3)
    expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(context, logits())
    torch.testing.assert_close(sample.penalised(logits(), context, penalty), expected)


def test_a_penalty_never_makes_a_repeat_likelier():
    """Dividing a negative logit, as a published sampler did, raises it."""
    context = prompt(20, rows=3)
    before, after = logits().softmax(-1), sample.penalised(logits(), context, 1.5).softmax(-1)
    assert (logits().gather(-1, context) < 0).any()
    least_likely = logits().gather(-1, context).argmin(-1, keepdim=True)
    token = context.gather(-1, least_likely)
    assert (after.gather(-1, token) < before.gather(-1, token)).all()


@pytest.mark.parametrize("k", [1, 5, 96, 97, 500])
def test_top_k_keeps_what_transformers_keeps(k):
    expected = theirs.TopKLogitsWarper(k)(prompt(1), logits())
    torch.testing.assert_close(sample.kept(logits(), sample.Sampling(top_k=k)), expected)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9, 0.999])
def test_top_p_keeps_what_transformers_keeps(p):
    expected = theirs.TopPLogitsWarper(p)(prompt(1), logits())
    torch.testing.assert_close(sample.kept(logits(), sample.Sampling(top_p=p)), expected)


def test_no_probability_at_all_keeps_the_likeliest():
    kept = sample.kept(logits(), sample.Sampling(top_p=0))
    assert torch.equal(kept.isfinite().sum(-1), torch.ones(3, dtype=torch.int64))
    assert torch.equal(kept.argmax(-1), logits().argmax(-1))


def test_without_limits_everything_is_kept():
    assert torch.equal(sample.kept(logits(), sample.Sampling()), logits())


def test_temperature_zero_takes_the_likeliest_token():
    assert torch.equal(sample.draw(logits(), sample.Sampling(temperature=0)), logits().argmax(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_the_probabilities_of_the_scaled_logits(temperature):
    one = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    generator = torch.Generator().manual_seed(0)
    drawn = sample.draw(one.expand(20_000, 4), sample.Sampling(temperature=temperature), generator)
    expected = (one[0] / temperature).softmax(-1)
    error = (expected * (1 - expected) / 20_000).sqrt()
    assert ((drawn.bincount(minlength=4) / 20_000 - expected).abs() < 5 * error).all()


def test_reading_token_by_token_answers_like_reading_at_once_until_the_window_is_full():
    model, ids = built(), prompt(16)
    reader = sample.Reader(model)
    for length in range(4, 17):
        found = reader.logits(ids[:, :length])
        with torch.no_grad():
            torch.testing.assert_close(found, model(ids[:, :length])[:, -1], rtol=1e-4, atol=1e-4)
    assert reader.in_pieces


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_token_is_read_once_in_pieces_also_where_the_model_answers_in_bf16(precision):
    """Reading at once and in pieces differ by more in bf16 than by what tells a model that mixes neighbours."""
    model, ids, lengths = built(), prompt(10), []
    reader = sample.Reader(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        reader.logits(ids[:, :4])
        model.register_forward_pre_hook(lambda model, given: lengths.append(given[0].shape[1]))
        for length in range(5, 11):
            reader.logits(ids[:, :length])
    assert reader.in_pieces and lengths == [1] * 6


def test_a_full_window_keeps_its_later_half_and_goes_on():
    model, ids = built(), prompt(18)
    reader = sample.Reader(model)
    for length in range(15, 19):
        found = reader.logits(ids[:, :length])
    with torch.no_grad():
        torch.testing.assert_close(found, model(ids[:, 9:])[:, -1], rtol=1e-4, atol=1e-4)
    assert reader.caches[0].tokens == 9


def test_another_row_is_read_from_its_beginning():
    model, reader = built(), sample.Reader(built())
    for ids in (prompt(9), prompt(5), prompt(7)):
        with torch.no_grad():
            torch.testing.assert_close(reader.logits(ids), model(ids)[:, -1], rtol=1e-4, atol=1e-4)


def test_a_model_that_cannot_be_read_in_pieces_is_read_whole():
    class Smeared(lm.LM):
        """Adds each token's embedding to the next one's, as a patch may."""

        def __init__(self, config):
            super().__init__(config)
            self.token_embedding = Smear(self.token_embedding)

    class Smear(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        @property
        def weight(self):
            return self.inner.weight

        def forward(self, ids):
            x = self.inner(ids)
            return x + nn.functional.pad(x[:, :-1], (0, 0, 1, 0))

    Smeared.normal = lm.LM.normal | {"inner"}
    model, ids = built(Smeared), prompt(12)
    reader = sample.Reader(model)
    for length in range(4, 13):
        found = reader.logits(ids[:, :length])
        with torch.no_grad():
            torch.testing.assert_close(found, model(ids[:, :length])[:, -1])
    assert not reader.in_pieces


def test_continuing_is_the_likeliest_token_again_and_again_at_temperature_zero():
    model, ids = built(), prompt(4)
    found = list(itertools.islice(sample.continued(model, ids, sample.Sampling(temperature=0)), 6))
    for token in found:
        with torch.no_grad():
            assert torch.equal(token, model(ids)[:, -1].argmax(-1))
        ids = torch.cat((ids, token[:, None]), dim=1)


def test_continuing_goes_on_for_longer_than_the_window_and_repeats_with_its_generator():
    runs = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        tokens = sample.continued(built(), prompt(4), sample.Sampling(top_k=20, repetition_penalty=1.1), generator)
        runs.append(torch.stack(list(itertools.islice(tokens, 40))))
    assert torch.equal(*runs)
    assert runs[0].shape == (40, 2) and runs[0].max() < 97
    assert math.isfinite(runs[0].float().mean())
