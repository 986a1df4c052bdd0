"""Size, layout, padding and legal drawing of the multimodal model."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from model_core import multimodal, muon, sample, train

TINY = multimodal.PRESETS["tiny"]


def built(config=TINY, seed=0) -> multimodal.MultimodalLM:
    return train.build(multimodal.MultimodalLM, config, seed, "cpu")


def sequences(*lengths: int) -> torch.Tensor:
    """Made-up sequences of these lengths, filled up to the longest that the meter counts."""
    rows = torch.randint(TINY.vocab_size, (len(lengths), 29), generator=torch.Generator().manual_seed(4))
    for row, length in zip(rows, lengths, strict=True):
        row[length:] = multimodal.NO_TOKEN
    return rows


def test_published_size_has_its_parameters_to_the_digit():
    with torch.device("meta"):
        model = multimodal.MultimodalLM(multimodal.PRESETS["40m"])
    assert model.parameter_count() == 40_380_928


def test_the_vocabulary_is_text_then_two_markers_then_codes():
    config = multimodal.PRESETS["40m"]
    assert (config.seg_start, config.seg_end, config.first_code) == (49_152, 49_153, 49_154)
    assert config.vocab_size == config.first_code + 1_024 == 50_178
    assert TINY.vocab_size - TINY.first_code == 128


def test_a_sequence_of_the_published_grid_fits_into_the_context():
    """A published model was given 2,024 places, a slip for 2,048."""
    config = multimodal.PRESETS["40m"]
    assert config.max_seq_len == 2_048
    assert config.image_codes + 4 < config.sequence_tokens <= config.max_seq_len


def test_loss_is_the_cross_entropy_of_the_tokens_that_are_there():
    model, rows = built(), sequences(29, 22, 25)
    with torch.no_grad():
        logits = model(*model.inputs(rows))
        expected = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=multimodal.NO_TOKEN)
        torch.testing.assert_close(model.loss(rows), expected)


def test_what_stands_in_the_padding_changes_nothing():
    model, rows = built(), sequences(20, 24)
    more = torch.cat((rows, torch.full((2, 3), multimodal.NO_TOKEN)), dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model.loss(more), model.loss(rows))
        a, b = model(*model.inputs(rows)), model(*model.inputs(rows.where(rows != multimodal.NO_TOKEN, 5)))
        torch.testing.assert_close(a[0, :19], b[0, :19])


def test_gradient_reaches_every_parameter():
    model = built()
    model.loss(sequences(29, 25)).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_images_are_drawn_from_codes_alone_whatever_the_model_would_rather_say():
    model = built()
    with torch.no_grad():
        model.token_embedding.weight[: TINY.first_code] *= 50  # text and markers would win every draw
    prompts = torch.tensor([[1, 7, 9, TINY.seg_start], [1, 3, 2, TINY.seg_start]])
    codes = multimodal.draw_codes(model, prompts, sample.Sampling(1.0), torch.Generator().manual_seed(0))
    assert codes.shape == (2, TINY.image_codes)
    assert codes.min() >= 0 and codes.max() < 128


def test_drawing_reads_the_prompt_and_then_each_code_once():
    """A published sampler read the whole row again for every code."""
    model, lengths = built(), []
    model.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    multimodal.draw_codes(model, torch.tensor([[1, 7, 9, TINY.seg_start]]), sample.Sampling(0))
    assert lengths[-(TINY.image_codes - 1) :] == [1] * (TINY.image_codes - 1)
    assert sum(lengths) <= 3 * 4 + TINY.image_codes  # the prompt in pieces, whole, and in pieces to go on


def test_of_the_likeliest_code_alone_every_draw_is_that_one():
    prompts = torch.tensor([[1, 7, TINY.seg_start]] * 2)
    drawn = multimodal.draw_codes(built(), prompts, sample.Sampling(1.0, top_k=1), torch.Generator().manual_seed(1))
    assert torch.equal(drawn, multimodal.draw_codes(built(), prompts, sample.Sampling(0)))


def test_the_published_recipe_is_muon_for_the_matrices_of_the_blocks():
    config = multimodal.PRESETS["40m"]
    assert (config.muon_lr, config.adamw_lr, config.batch_size) == (0.02, 0.006, 20)
    model = train.build(multimodal.MultimodalLM, TINY, 0, "cpu")
    with_muon = {id(p) for group in muon.groups(model) if group["kind"] == "muon" for p in group["params"]}
    matrices = {name for name, p in model.named_parameters() if id(p) in with_muon}
    assert matrices == {name for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2}


def test_drawing_is_what_whole_rows_say_and_the_same_with_its_generator():
    prompts = torch.tensor([[1, 7, TINY.seg_start]])
    codes = [
        multimodal.draw_codes(built(), prompts, sample.Sampling(1.0, top_k=50), torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert torch.equal(*codes)
    greedy = multimodal.draw_codes(built(), prompts, sample.Sampling(0))
    ids = torch.cat((prompts, greedy + TINY.first_code), dim=1)
    with torch.no_grad():
        whole = built()(ids)[:, 2:-1, TINY.first_code :].argmax(-1)
    assert torch.equal(whole, greedy)


def test_a_prompt_without_the_start_of_an_image_is_refused():
    with pytest.raises(AssertionError, match="seg_start"):
        multimodal.draw_codes(built(), torch.tensor([[1, 7]]), sample.Sampling())


def test_training_learns_which_codes_follow_a_caption():
    class Stream:
        left, losses = 60, []

        def take(self, rows):
            self.left -= 1
            labels = torch.randint(10, (rows, 1))
            marker, codes = torch.full((rows, 1), TINY.seg_start), TINY.first_code + 3 * labels.expand(-1, 16)
            return torch.cat((labels, marker, codes), dim=1) if self.left >= 0 else None

        def report(self, tokens_seen, loss):
            self.losses.append(loss.item())

    config = dataclasses.replace(TINY, d_model=32, n_layers=1, d_ff=64, batch_size=16, max_seq_len=32, adamw_lr=0.006)
    stream = Stream()
    trainer = train.Trainer(built(config), 60 * 16 * config.sequence_tokens, precision="fp32")
    torch.manual_seed(0)
    trainer.train(stream)
    assert stream.losses[0] > 4.5
    assert stream.losses[-1] < 0.5
