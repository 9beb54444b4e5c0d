"""Sampling: its noise, its independence of batches, and how prompts become tokens."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Completion, Request
from autodidact_worker.generation import transformers as in_process
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.models import batches, loading
from autodidact_worker.runtime.errors import StoppedError, UserError
from support.edited_models import edited
from support.tiny import write_gpt2

SAMPLING = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=8)


def requests(count: int = 12, n: int = 3) -> list[Request]:
    """Prompts of different lengths, so that batches need padding."""
    return [
        Request(id=str(i), prompt="abc" * (1 + i % 4) + "xyz"[: i % 3], n=n, seed_key=f"0/test/{i}")
        for i in range(count)
    ]


def sample(
    path: Path, asked: Sequence[Request], sampling: Sampling = SAMPLING
) -> list[list[Completion]]:
    """Completions of a model."""
    return TransformersGenerator.load(path).generate(asked, sampling)


@pytest.mark.parametrize("split", [1, 2, 5])
def test_results_do_not_depend_on_batches(llama: Path, split: int) -> None:
    """The same requests in other batches give the same completions, exactly."""
    asked = requests()
    together = sample(llama, asked)
    apart = [one for i in range(0, 12, split) for one in sample(llama, asked[i : i + split])]
    assert apart == together


def test_results_do_not_depend_on_the_batch_size(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smaller budget of tokens cuts batches elsewhere and changes nothing."""
    whole = sample(llama, requests())
    monkeypatch.setattr(batches, "BATCH_TOKENS", 60)
    assert sample(llama, requests()) == whole


def test_samples_of_one_prompt_differ(llama: Path) -> None:
    """Each sample has noise of its own, and another seed key gives other samples."""
    [first] = sample(llama, [Request(id="a", prompt="abc", n=8, seed_key="0/test/a")])
    [other] = sample(llama, [Request(id="a", prompt="abc", n=8, seed_key="1/test/a")])
    assert len({one.text for one in first}) > 4
    assert [one.text for one in first] != [one.text for one in other]


def test_more_samples_keep_the_first_ones(llama: Path) -> None:
    """Asking for five instead of two adds three and changes none."""
    [two] = sample(llama, [Request(id="a", prompt="abc", n=2, seed_key="k")])
    [five] = sample(llama, [Request(id="a", prompt="abc", n=5, seed_key="k")])
    assert five[:2] == two


def test_the_noise_is_standard_gumbel() -> None:
    """Mean is Euler's constant and variance a sixth of pi squared, per row, step and token."""
    noise = in_process.gumbel(torch.randint(0, 2**32, (2000, 2)), 3, 200)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(1.6449, abs=0.03)
    assert noise.mean(dim=0).sub(0.5772).abs().max() < 0.15  # 5 sigma of 2,000 rows
    assert noise.mean(dim=1).sub(0.5772).abs().max() < 0.5  # 5 sigma of 200 tokens
    assert torch.isfinite(noise).all()


def test_rows_steps_and_tokens_are_uncorrelated() -> None:
    """Neighbouring keys, steps and tokens share nothing."""
    keys = torch.tensor([[i, 0] for i in range(1000)])
    here, next_step = in_process.gumbel(keys, 0, 100), in_process.gumbel(keys, 1, 100)
    pairs = [
        (here, next_step),
        (here[1:], here[:-1]),
        (here[:, 1:], here[:, :-1]),
        (here, in_process.gumbel(keys.flip(1), 0, 100)),
    ]
    for one, two in pairs:
        both = torch.stack([one.flatten(), two.flatten()])
        assert abs(torch.corrcoef(both)[0, 1].item()) < 0.02


def test_sampled_frequencies_are_the_probabilities() -> None:
    """Argmax of logits plus noise draws from the softmax at the temperature."""
    count = 40000
    keys = [(i, 7 * i) for i in range(count)]
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(count, 4)
    noise = in_process.GumbelNoise(keys, 5, Sampling(temperature=0.5, top_p=1.0, max_new_tokens=1))
    drawn = noise(torch.zeros(count, 5, dtype=torch.long), logits).argmax(dim=-1)
    found = torch.bincount(drawn, minlength=4) / count
    wanted = torch.softmax(logits[0] / 0.5, dim=-1)
    assert (found - wanted).abs().max() < 0.012  # 5 sigma


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    """Of 0.5, 0.3, 0.15, 0.05 a nucleus of 0.75 keeps two and one of 0.81 three."""
    logits = torch.log(torch.tensor([[0.15, 0.5, 0.05, 0.3]]))
    assert torch.isfinite(in_process.nucleus(logits, 0.75)).tolist() == [[False, True, False, True]]
    assert torch.isfinite(in_process.nucleus(logits, 0.81)).tolist() == [[True, True, False, True]]
    assert torch.isfinite(in_process.nucleus(logits, 0.01)).sum() == 1
    assert in_process.nucleus(logits, 1.0).equal(logits)


def test_a_reply_ends_at_the_end_token(llama: Path, tmp_path: Path) -> None:
    """A model that can only end gives empty replies that stopped; one that cannot is cut."""
    ending = biased(llama, tmp_path / "ending", bias=100.0)
    [[reply]] = sample(ending, requests(1, 1))
    assert reply == Completion(text="", tokens=0, finish="stop", ids=(1,))
    endless = biased(llama, tmp_path / "endless", bias=-100.0)
    [[reply]] = sample(endless, requests(1, 1))
    assert (reply.tokens, reply.finish) == (8, "length")


def biased(source: Path, folder: Path, bias: float) -> Path:
    """Writes a copy of a model whose end token has a large or a small logit."""
    shutil.copytree(source, folder)
    model = AutoModelForCausalLM.from_pretrained(source)
    # The last norm's output has a known direction when its weight is zero but for one place.
    with torch.no_grad():
        model.model.norm.weight.zero_()
        model.model.norm.weight[0] = 1.0
        model.model.embed_tokens.weight[:, 0] = 5.0
        model.lm_head.weight[1, 0] = bias
    model.save_pretrained(folder)
    return folder


def test_a_prompt_beyond_the_context_is_refused_by_name(llama: Path) -> None:
    """The message names the row, the numbers and the remedy; asking first avoids it."""
    long = Request(id="row-7", prompt="a" * 2041, n=1, seed_key="k")
    generator = TransformersGenerator.load(llama)
    assert generator.fits("a" * 2040, SAMPLING)
    assert not generator.fits(long.prompt, SAMPLING)
    with pytest.raises(UserError, match=r"row-7 has 2041 tokens.*context of 2048"):
        generator.generate([long], SAMPLING)


def test_sampling_stops_between_batches(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch at work is finished, the next one is not begun."""
    monkeypatch.setattr(batches, "BATCH_TOKENS", 60)
    made: list[int] = []
    with pytest.raises(StoppedError):
        TransformersGenerator.load(llama).generate(
            requests(), SAMPLING, made.append, lambda: len(made) == 2
        )
    assert len(made) == 2


@pytest.mark.parametrize("kind", ["rotary", "absolute"])
def test_left_padding_does_not_change_log_probabilities(
    kind: str, llama: Path, tmp_path: Path
) -> None:
    """Seven pads before the prompt move no log-probability by more than 1e-4."""
    path = llama if kind == "rotary" else write_gpt2(tmp_path / "gpt2")
    model, tokenizer = loading.load(path)
    ids = loading.prompt_ids(tokenizer, "abcabc")

    def log_probabilities(pads: int) -> Any:
        output = model.generate(
            input_ids=torch.tensor([[0] * pads + ids]),
            attention_mask=torch.tensor([[0] * pads + [1] * len(ids)]),
            max_new_tokens=5,
            min_new_tokens=5,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return torch.stack(output.logits).log_softmax(dim=-1)

    assert (log_probabilities(0) - log_probabilities(7)).abs().max() < 1e-4


def test_a_missing_pad_token_is_the_end_token(llama: Path, tmp_path: Path) -> None:
    """Padding is masked, so no embedding is added."""
    path = edited(llama, tmp_path / "m", "tokenizer_config.json", pad_token=None)
    loaded = loading.load(path)
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 1
    assert loaded.model.get_input_embeddings().weight.shape == (88, 32)
    assert sample(path, requests()) == sample(llama, requests())


def test_a_models_own_sampling_defaults_do_not_leak(llama: Path, tmp_path: Path) -> None:
    """Only the config decides how tokens are drawn, whatever generation_config.json says."""
    path = edited(
        llama,
        tmp_path / "m",
        "generation_config.json",
        repetition_penalty=5.0,
        do_sample=True,
        top_k=1,
    )
    assert sample(path, requests()) == sample(llama, requests())


def test_several_end_tokens_end_a_reply(llama: Path, tmp_path: Path) -> None:
    """End tokens that the model declares count beside the tokenizer's."""
    ends = list(range(1, 88))
    path = edited(llama, tmp_path / "m", "generation_config.json", eos_token_id=ends)
    assert all(one.tokens <= 1 for [one] in sample(path, requests(n=1)))


def test_temperature_zero_takes_the_most_likely_token(llama: Path) -> None:
    """Greedy samples of one prompt are all the same, whatever their seed."""
    greedy = Sampling(temperature=0, top_p=1.0, max_new_tokens=8)
    asked = requests(3, 2)
    found = TransformersGenerator.load(llama).generate(asked, greedy)
    other = [replace(request, seed_key="another") for request in asked]
    assert all(first == second for first, second in found)
    assert TransformersGenerator.load(llama).generate(other, greedy) == found


def test_a_request_may_have_less_room_than_the_sampling(llama: Path, tmp_path: Path) -> None:
    """A reply is cut where its own request says, and is the beginning of the longer one."""
    endless = biased(llama, tmp_path / "endless", bias=-100.0)
    eight = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=8)
    whole, short = requests(2, 1)
    generator = TransformersGenerator.load(endless)
    [[first], [cut]] = generator.generate([whole, replace(short, max_new_tokens=3)], eight)
    [_, [long]] = generator.generate([whole, short], eight)
    assert (first.tokens, cut.tokens, cut.finish) == (8, 3, "length")
    assert cut.ids == long.ids[:3]
