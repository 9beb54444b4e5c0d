"""Training: what is learned, at which rate, with what loss, and that a kill changes nothing."""

import json
import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM
from trl import DPOTrainer

from autodidact_contract.base import Lora
from autodidact_contract.records import Instruction, Pair
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.training import Training
from autodidact_store import open_store
from autodidact_worker.generation import Request
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.stages import train_dpo, train_sft
from autodidact_worker.training import distributed, schedule, start, validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.trainers import dpo, sft
from autodidact_worker.training.trainers.measuring import Measuring
from support import chain, tiny
from support.online_stages import Stop
from support.training_rows import (
    EVALUATIONS,
    INSTRUCTIONS,
    PAIRS,
    QUESTIONS,
    SMALL,
    VALIDATION,
    Run,
    digest,
)


def rate(step: int, **changes: Any) -> float:
    """Learning rate at a step of eleven."""
    values = {
        "learning_rate": 1.0,
        "final_learning_rate": 0.2,
        "warmup_steps": 0,
        "warmup_ratio": 0.0,
        **changes,
    }
    return schedule.learning_rate(SimpleNamespace(**values), step, 11)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "begin", "quarter", "middle", "end"),
    [
        # 0.2 + 0.8 (1 + cos(pi/5)) / 2 = 0.923607
        ("cosine", 1.0, 0.923607, 0.6, 0.2),
        ("linear", 1.0, 0.84, 0.6, 0.2),
        ("constant", 1.0, 1.0, 1.0, 1.0),
    ],
)
def test_learning_rate_falls_to_its_final_value(
    schedule: str, begin: float, quarter: float, middle: float, end: float
) -> None:
    """Exact at the first step, after a fifth, half way and at the very last step."""
    found = [rate(step, schedule=schedule) for step in (0, 2, 5, 10)]
    assert found == pytest.approx([begin, quarter, middle, end], abs=1e-6)


def test_learning_rate_warms_up() -> None:
    """It reaches its peak in the asked number of steps and falls from there."""
    found = [rate(step, schedule="linear", warmup_steps=4) for step in range(11)]
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[7] == pytest.approx(0.6)
    assert found[10] == pytest.approx(0.2)


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, 0), (0.05, 1), (0.3, 4), (1.0, 11)])
def test_learning_rate_warms_up_over_a_share_of_the_steps(ratio: float, steps: int) -> None:
    """Of eleven steps, rounded up; the rates are those of so many steps."""
    found = [rate(step, schedule="linear", warmup_ratio=ratio) for step in range(11)]
    assert found == [rate(step, schedule="linear", warmup_steps=steps) for step in range(11)]


def test_warm_up_steps_come_before_their_share() -> None:
    """Where both are given the number of steps counts."""
    both = {"schedule": "linear", "warmup_steps": 2}
    assert [rate(s, warmup_ratio=0.9, **both) for s in range(11)] == [
        rate(s, **both) for s in range(11)
    ]


def test_the_trainer_uses_our_rates(run: Run) -> None:
    """What the optimiser had at each of six steps is what the schedule says."""
    out, output = run(learning_rate=1e-3, final_learning_rate=1e-4, schedule="linear", batch_size=4)
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    wanted = [1e-3, 7.75e-4, 5.5e-4, 3.25e-4, 1e-4]
    assert [line["learningRate"] for line in lines] == pytest.approx(wanted)
    assert output.counts["steps"] == 5


def test_order_shows_every_row_once_an_epoch() -> None:
    """Two and a half epochs: each row twice or thrice, the same for the same seed."""
    lengths = [number % 7 + 1 for number in range(40)]
    found = schedule.order(lengths, 2.5, 8, seed=0)
    assert len(found) == 100
    assert set(Counter(found).values()) == {2, 3}
    assert found == schedule.order(lengths, 2.5, 8, seed=0)
    assert found != schedule.order(lengths, 2.5, 8, seed=1)


def test_order_puts_similar_lengths_together() -> None:
    """Of long and short rows, at most one full batch has both, and batches are not sorted."""
    lengths = [100 if number % 4 == 0 else 5 for number in range(320)]
    found = schedule.order(lengths, 1, 16, seed=0)
    kinds = [{lengths[row] for row in found[i : i + 16]} for i in range(0, 320, 16)]
    assert sum(len(kind) == 2 for kind in kinds) <= 1
    assert kinds != sorted(kinds, key=max)


@pytest.mark.parametrize(
    ("batch", "micro", "world", "wanted"),
    [(16, None, 1, (16, 1)), (16, 2, 4, (2, 2)), (16, None, 8, (2, 1)), (16, 16, 1, (16, 1))],
)
def test_batch_size_is_global(
    batch: int, micro: int | None, world: int, wanted: tuple[int, int]
) -> None:
    """Rows of a pass times passes times processes make the batch."""
    config: Any = SimpleNamespace(batch_size=batch, micro_batch_size=micro)
    assert schedule.micro_batches(config, world) == wanted


@pytest.mark.parametrize(("batch", "micro", "world"), [(16, 3, 1), (16, None, 3), (2, None, 4)])
def test_batches_that_do_not_divide_are_refused(batch: int, micro: int | None, world: int) -> None:
    """The sentence has all three numbers."""
    config: Any = SimpleNamespace(batch_size=batch, micro_batch_size=micro)
    with pytest.raises(UserError, match=f"batchSize {batch} is not a multiple of {world} "):
        schedule.micro_batches(config, world)


def test_targets_end_in_the_end_token(llama: Path) -> None:
    """The prompt's tokens are those of sampling; only a cut target loses its end."""
    tokenizer = loading.load_tokenizer(llama)
    row = start.tokenize(tokenizer, "row 1", "abc", ["de"], limit=6)
    assert row.prompt == loading.prompt_ids(tokenizer, "abc")
    assert row.targets == ([*tokenizer("de").input_ids, tokenizer.eos_token_id],)
    assert (row.length, row.tokens, row.cut) == (6, 6, False)
    cut = start.tokenize(tokenizer, "row 1", "abc", ["de", "d"], limit=5)
    assert cut.targets[0] == tokenizer("de").input_ids
    assert cut.targets[1][-1] == tokenizer.eos_token_id
    assert cut.cut


def test_a_chat_template_is_used_as_in_sampling(llama: Path) -> None:
    """The prompt is the rendered user turn, and the target is the bare reply with its end."""
    tokenizer = loading.load_tokenizer(llama)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}:"
    row = start.tokenize(tokenizer, "row 1", "abc", ["de"], limit=20)
    assert tokenizer.decode(row.prompt) == "<abc>:"
    assert tokenizer.decode(row.targets[0]) == "de<eos>"


def test_prompts_without_room_are_named(run: Run) -> None:
    """A row whose prompt alone fills the context cannot be learned."""
    long = [*INSTRUCTIONS, Instruction(prompt="a" * 50, response="b")]
    with pytest.raises(UserError, match="instructions row 21: its prompt alone has 50 tokens"):
        run(instructions=long, max_length=50)


def test_sft_learns_replies_and_judgements(run: Run) -> None:
    """Rows of both kinds are counted, cut ones as well; the loss falls; the model is safe."""
    out, output = run(
        instructions=[*INSTRUCTIONS, Instruction(prompt="abc", response="d" * 60)],
        evaluations=EVALUATIONS,
        epochs=6,
        max_length=40,
        learning_rate=1e-2,
    )
    curve = [
        json.loads(line)["loss"] for line in (out / model_files.CURVE).read_text().splitlines()
    ]
    assert sum(curve[-4:]) < 0.7 * sum(curve[:4])
    counts = output.counts
    assert (counts["rows"], counts["truncated"], counts["steps"]) == (25, 1, 38)
    assert output.metrics["loss"].value == pytest.approx(sum(curve[-4:]) / 4)
    model_files.check(out)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_log.jsonl",
    }


def test_positives_are_learned_beside_the_seed_data(run: Run) -> None:
    """Those of all rounds, also where a round found none; as if they were instructions."""
    first, second = INSTRUCTIONS[:15], INSTRUCTIONS[15:]
    out, output = run(instructions=first, **{"positives-1": second, "positives-2": []})
    assert output.counts["rows"] == 20
    assert digest(out) == digest(run(instructions=INSTRUCTIONS)[0])


def test_only_targets_are_learned(llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The first loss is the mean negative log-probability of reply and end tokens alone."""
    row = INSTRUCTIONS[1]
    model, tokenizer = loading.load(llama)
    prompt, target = loading.prompt_ids(tokenizer, row.prompt), tokenizer(row.response).input_ids
    ids = [*prompt, *target, tokenizer.eos_token_id]
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    learned = range(len(prompt), len(ids))
    wanted = -sum(float(logs[i - 1, ids[i]]) for i in learned) / len(learned)
    inputs = tmp_path / "instructions"
    inputs.mkdir()
    rows.write(inputs / rows.DATA, [row])
    monkeypatch.setattr(schedule, "WINDOW", 1)
    output = chain.run(
        chain.sft_config(**SMALL), {"model": llama, "instructions": inputs}, tmp_path / "out"
    )
    assert output.metrics["loss"].value == pytest.approx(wanted, rel=1e-5)


def test_sft_learns_replies_and_their_ends_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model says of prompts and padding has no gradient, whatever these are.

    So no label of a prompt's token, however it were changed, could change what is learned.
    """
    states: list[Any] = []
    given: list[Any] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        output.retain_grad()
        states.append(output)

    loss = sft._Sft.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        given.append({name: inputs[name].clone() for name in ("input_ids", "labels")})
        with model.get_decoder().norm.register_forward_hook(keep):  # what the last layer reads
            return loss(self, model, inputs, *rest, **more)

    monkeypatch.setattr(sft._Sft, "compute_loss", compute_loss)
    run(batch_size=len(INSTRUCTIONS), epochs=1)
    [batch], [seen] = given, states
    learned = seen.grad.abs().sum(-1)[:, :-1] > 0  # of each token but the first, (B, T - 1)
    assert torch.equal(learned, batch["labels"][:, 1:] != -100)
    tokenizer = tiny.character_tokenizer()
    told = {
        tokenizer.decode(ids[1:][kept])
        for ids, kept in zip(batch["input_ids"], learned, strict=True)
    }
    assert told == {f"{row.response}<eos>" for row in INSTRUCTIONS}


@pytest.mark.parametrize(
    ("policy", "reference", "nll", "loss"),
    [
        ((-10.0, -12.0), (-10.0, -12.0), 0, 0.693147),
        ((-9.0, -14.0), (-10.0, -12.0), 0, 0.554355),
        ((-13.0, -12.0), (-10.0, -12.0), 0, 0.854355),
        ((-9.0, -14.0), (-10.0, -12.0), 1, 1.554355),
    ],
)
def test_dpo_loss_is_the_paper_s(
    llama: Path,
    tmp_path: Path,
    policy: tuple[float, float],
    reference: tuple[float, float],
    nll: float,
    loss: float,
) -> None:
    """TRL's loss on given log-probabilities: beta 0.1, nine tokens a reply, computed by hand."""
    found, gradient = _dpo_loss(_dpo_trainer(llama, tmp_path, nll), policy, reference)
    assert found == pytest.approx(loss, abs=1e-5)
    if not nll and policy == (-9.0, -14.0):
        assert float(gradient[0, 1]) == pytest.approx(-0.042556, abs=1e-6)


@pytest.mark.parametrize(
    ("consistency", "nll", "loss", "gradient"),
    [
        # Margin 0.3: 0.554355 as it is and 0.854355 exchanged. The slope is -sigmoid(-0.3), which
        # is -0.425557, plus what is exchanged; beta 0.1 is between it and a log-probability.
        (0.8, 0, 0.614355, -0.0225557),
        (0.75, 0, 0.629355, -0.0175557),
        (0.5, 0, 0.704355, 0.0074443),
        (0.0, 0, 0.854355, 0.0574443),
        (0.75, 1, 1.629355, -0.0175557 - 1 / 9),
    ],
)
def test_a_pair_counts_in_part_the_other_way_round(
    llama: Path, tmp_path: Path, consistency: float, nll: float, loss: float, gradient: float
) -> None:
    """C times DPO's loss and 1 - C times that of the exchanged pair, computed by hand."""
    trainer = _dpo_trainer(llama, tmp_path, nll)
    found, slope = _dpo_loss(trainer, (-9.0, -14.0), (-10.0, -12.0), consistency)
    assert found == pytest.approx(loss, abs=1e-5)
    assert float(slope[0, 1]) == pytest.approx(gradient, abs=1e-6)


def test_a_pair_that_counts_in_full_is_plain_dpo(llama: Path, tmp_path: Path) -> None:
    """With C = 1 loss and gradient are those without it, to the last bit."""
    trainer = _dpo_trainer(llama, tmp_path, 1)
    plain = _dpo_loss(trainer, (-9.1, -14.7), (-10.3, -12.2))
    whole = _dpo_loss(trainer, (-9.1, -14.7), (-10.3, -12.2), 1.0)
    assert plain[0] == whole[0]
    assert torch.equal(plain[1], whole[1])


def _dpo_loss(
    trainer: Any,
    policy: tuple[float, float],
    reference: tuple[float, float],
    consistency: float | None = None,
) -> tuple[float, torch.Tensor]:
    """Loss of one pair of replies with nine tokens each, and its slope by token."""
    logs = torch.zeros(2, 10)
    for row, value in enumerate(policy):
        logs[row, 1:] = value / 9
    logs.requires_grad_()
    trainer.model.train()
    mask = torch.tensor([[0, 0, *[1] * 9]] * 2)
    batch = {
        "input_ids": torch.ones(2, 11, dtype=torch.long),
        "attention_mask": torch.ones(2, 11, dtype=torch.long),
        "completion_mask": mask,
        "ref_chosen_logps": torch.tensor(reference[:1]),
        "ref_rejected_logps": torch.tensor(reference[1:]),
    }
    if consistency is not None:
        batch["consistency"] = torch.tensor([consistency])
    zeros = torch.zeros(2, 10)

    def forward(**_: Any) -> SimpleNamespace:
        return SimpleNamespace(
            log_probs=logs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )

    found = trainer.compute_loss(forward, batch)
    found.backward()
    return found.item(), logs.grad


def _dpo_trainer(llama: Path, folder: Path, nll: float) -> Any:
    context = SimpleNamespace(scratch=folder, config=chain.dpo_config(nll_coefficient=nll))
    loaded = loading._load(llama)
    data = {"prompt_ids": [[5]], "chosen_ids": [[6]], "rejected_ids": [[7]]}
    trainer = dpo._Dpo(
        model=loaded.model,
        args=dpo.arguments(context, Layout(gpu=False)),
        train_dataset=Dataset.from_dict(data),
        processing_class=loaded.tokenizer,
    )
    assert isinstance(trainer, DPOTrainer)
    return trainer


def test_dpo_starts_at_its_reference(run: Run, llama: Path) -> None:
    """The first loss is ln 2 and the margin grows; the starting model's files stay as they were."""
    before = digest(llama)
    out, output = run(train_dpo, pairs=PAIRS, epochs=4, batch_size=6)
    curve = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert curve[-1]["rewardsMargin"] > 0.01
    assert output.metrics["rewardsAccuracy"].value == 1.0
    assert output.counts["rows"] == 12
    assert digest(llama) == before
    model_files.check(out)


def exchanged(pair: Pair) -> Pair:
    """The pair the other way round."""
    return pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_no_consistency_is_training_on_exchanged_pairs(run: Run, lora: Lora | None) -> None:
    """Pairs with C = 0 are learned as if their replies were exchanged, step by step."""
    settings = {"epochs": 3, "batch_size": 6, "micro_batch_size": 2, "learning_rate": 1e-2}
    settings["lora"] = lora
    weighed = [pair.model_copy(update={"consistency": 0.0}) for pair in PAIRS]
    out, _ = run(train_dpo, pairs=weighed, **settings)
    wanted, _ = run(train_dpo, pairs=[exchanged(pair) for pair in PAIRS], **settings)
    losses, others = figures(out, "loss"), figures(wanted, "loss")
    assert losses[-1][1] < 0.99 * math.log(2)
    for (_, loss), (_, other) in zip(losses, others, strict=True):
        assert loss == pytest.approx(other, abs=2e-4)


def test_pairs_of_judgements_are_mixed_with_those_of_replies(run: Run) -> None:
    """They are learned as pairs are; what does not fit is left out and counted."""
    judgements = [
        PAIRS[0].model_copy(update={"prompt": "a" * length, "prompt_id": f"j{length}"})
        for length in (20, 60, 56)
    ]
    # A pair needs its prompt, its longer reply, which has two characters here, and the end token.
    settings = {"pairs": PAIRS, "batch_size": 5, "max_length": 60}
    out, output = run(train_dpo, **settings, **{"judge-pairs": judgements})
    counts = output.counts
    assert (counts["rows"], counts["judge-pairs"], counts["judge-pairs-too-long"]) == (14, 2, 1)
    assert counts["truncated"] == 0
    alone, plain = run(train_dpo, **settings)
    assert plain.counts["rows"] == 12
    assert "judge-pairs" not in plain.counts
    assert not equal(out, alone)
    none, _ = run(train_dpo, **settings, **{"judge-pairs": []})
    assert equal(none, alone)


def test_no_pairs_end_the_run(run: Run) -> None:
    """Nothing to learn from is the user's to solve, and is said so."""
    with pytest.raises(UserError, match="no preference pair") as caught:
        run(train_dpo, pairs=[])
    assert caught.value.reason == "NoPairs"


def test_a_loss_that_is_no_number_ends_the_run(run: Run) -> None:
    """The sentence has step, rate and remedy, and nothing is written."""
    with pytest.raises(UserError, match=r"at step \d+ of .* lower learningRate") as caught:
        run(learning_rate=1e30, max_grad_norm=1e30, epochs=4)
    assert caught.value.reason == "NaNLoss"


def test_the_same_seed_makes_the_same_bytes(run: Run) -> None:
    """Twice the same with dropout and accumulation, and other bytes for another seed."""
    digests = [digest(run(seed=seed, dropout=0.1, micro_batch_size=2)[0]) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_dropout_is_what_was_asked(llama: Path, value: float) -> None:
    """Two passes in training differ with dropout and agree without; modules are counted."""
    begin = start.start(llama, chain.sft_config(dropout=value), Layout(gpu=False))
    begin.model.train()
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        first, second = begin.model(ids).logits, begin.model(ids).logits
    assert torch.equal(first, second) == (value == 0)
    assert begin.dropouts == (2 if value else 0)


def test_dropout_is_not_left_in_the_result(run: Run, llama: Path) -> None:
    """The written config has the dropout of the model that was given."""
    out, output = run(dropout=0.2)
    assert output.counts["dropoutModules"] == 2
    name = "attention_dropout"
    assert json.loads((out / "config.json").read_text())[name] == 0.0
    assert json.loads((llama / "config.json").read_text())[name] == 0.0


def test_dropout_that_cannot_be_applied_is_refused(tmp_path: Path, llama: Path) -> None:
    """A Mamba has none: better no training than one without what was asked."""
    shape = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    MambaForCausalLM(MambaConfig(**shape)).save_pretrained(tmp_path / "mamba")
    for path in llama.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "mamba")
    layout = Layout(gpu=False)
    with pytest.raises(UserError, match="mamba has no dropout") as caught:
        start.start(tmp_path / "mamba", chain.sft_config(dropout=0.1), layout)
    assert caught.value.reason == "DropoutNotApplicable"
    assert start.start(tmp_path / "mamba", chain.sft_config(), layout).dropouts == 0


def test_every_dropout_of_gpt2_is_set(tmp_path: Path, llama: Path) -> None:
    """An architecture with its own defaults gets ours everywhere, also none at all."""
    config = GPT2Config(vocab_size=100, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    for path in llama.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "gpt2")
    with_it = start.start(tmp_path / "gpt2", chain.sft_config(dropout=0.2), Layout(gpu=False))
    # Embedding, attention probabilities, attention output, MLP output.
    assert with_it.dropouts == 4
    assert {m.p for m in with_it.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    without = start.start(tmp_path / "gpt2", chain.sft_config(), Layout(gpu=False))
    assert without.dropouts == 0
    assert without.limit == 64


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker can catch it."""


@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.1)])
@pytest.mark.parametrize("kind", [train_sft, train_dpo])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_resumed_training_ends_with_the_same_bytes(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    how: str,
    lora: Lora | None,
) -> None:
    """Stopped or killed after the third step, the next attempt's artifact is the uninterrupted."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    settings: dict[str, Any] = {"dropout": 0.1, "weight_decay": 0.01, "epochs": 2, "store": store}
    settings["lora"] = lora
    if kind is train_dpo:
        settings["pairs"] = PAIRS
    uninterrupted = run(kind, **settings)
    seen: list[int] = []

    def progress(step: int, _: int, **__: float) -> None:
        seen.append(step)
        if how == "kill" and step == 4:
            raise _Killed

    if how == "kill":
        monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    with pytest.raises(StoppedError if how == "stop" else _Killed):
        run(kind, progress=progress, stopping=lambda: len(seen) >= 2 and how == "stop", **settings)
    saved = Checkpoints.of(
        store, "team", kind.__name__.rpartition(".")[2].replace("_", "-"), "0a1b"
    )
    marker = saved.latest()
    assert marker is not None
    assert marker.step == 3
    seen.clear()
    monkeypatch.delenv("AUTODIDACT_CHECKPOINT_SECONDS", raising=False)
    again = run(kind, progress=lambda step, *_, **__: seen.append(step), **settings)
    assert seen[0] == 4
    assert digest(again[0]) == digest(uninterrupted[0])
    assert again[1] == uninterrupted[1]


def test_stopping_without_a_store_says_so(run: Run) -> None:
    """Run by hand there is nowhere to save."""
    with pytest.raises(StoppedError, match="lost, for there is no store"):
        run(stopping=lambda: True)


def test_wrong_layouts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer processes than the stage has, or an unknown engine, do not train silently."""
    monkeypatch.setenv("AUTODIDACT_WORLD_SIZE", "8")
    with pytest.raises(UserError, match="asks for 8 processes but 1 were started"):
        Layout.of_environment()
    monkeypatch.setenv("AUTODIDACT_WORLD_SIZE", "1")
    monkeypatch.setenv("AUTODIDACT_DEEPSPEED", "zero9")
    with pytest.raises(UserError, match="not none, zero2 or zero3"):
        Layout.of_environment()
    monkeypatch.setenv("AUTODIDACT_DEEPSPEED", "zero3")
    assert Layout.of_environment().deepspeed == "zero3"


@pytest.mark.parametrize(
    ("layout", "processes", "says"),
    [
        (Layout(world=2, gpu=False), 1, "2 processes were asked for, but accelerate has 1"),
        (Layout(world=1, gpu=False), 2, "1 processes were asked for, but accelerate has 2"),
        (Layout(deepspeed="zero3", gpu=False), 1, "DeepSpeedEngine was asked for, not Linear"),
    ],
)
def test_silent_fallbacks_are_noticed(layout: Layout, processes: int, says: str) -> None:
    """What trains is compared with what was asked."""
    model = torch.nn.Linear(1, 1)
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(num_processes=processes), model=model, model_wrapped=model
    )
    with pytest.raises(UserError, match=says):
        distributed.check_engine(trainer, layout)


def test_another_stage_of_zero_is_noticed() -> None:
    """DeepSpeed at work is not enough: it has to be the stage that was asked for."""

    class DeepSpeedEngine(torch.nn.Linear):
        def zero_optimization_stage(self) -> int:
            return 2

    engine = DeepSpeedEngine(1, 1)
    distributed.check(engine, engine, {}, Layout(deepspeed="zero2", gpu=False))
    with pytest.raises(UserError, match="zero3 was asked for, not ZeRO stage 2"):
        distributed.check(engine, engine, {}, Layout(deepspeed="zero3", gpu=False))


def test_configs_are_trainings() -> None:
    """The toy's settings are valid stage configs."""
    assert isinstance(chain.sft_config(), Training)
    assert isinstance(chain.dpo_config(), Training)


def test_nothing_is_unpickled(run: Run, tmp_path: Path) -> None:
    """Neither training nor resuming looks up a class for a pickle, which is how one runs code."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    found: list[Any] = []
    watching = [True]

    def hook(event: str, arguments: Any) -> None:
        if watching and event == "pickle.find_class":
            found.append(arguments)

    sys.addaudithook(hook)  # for good: it can only be told to look away
    seen: list[int] = []
    with pytest.raises(StoppedError):
        run(
            store=store,
            progress=lambda step, *_, **__: seen.append(step),
            stopping=lambda: len(seen) >= 2,
        )
    run(store=store)
    watching.clear()
    assert found == []


def figures(out: Path, name: str) -> list[tuple[float, float]]:
    """Step and value of a figure in a training's curve."""
    curve = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    return [(line["step"], line[name]) for line in curve if name in line]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The weights of a written model."""
    return load_file(out / "model.safetensors")


def equal(first: Path, second: Path) -> bool:
    """Whether two written models have the same weights."""
    one, other = weights(first), weights(second)
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has models measured as a script says, by the step they are measured at."""

    def write(**accuracies: float) -> None:
        def measure(_: Measuring, trainer: Any, *__: Any) -> Any:
            value = accuracies[f"step{trainer.state.global_step}"]
            return SimpleNamespace(value=value, cut=0)

        real = Measuring.measure

        def scripted(self: Measuring, trainer: Any, layout: Layout) -> float:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(validation, "measure", lambda *_: measure(self, trainer))
                return real(self, trainer, layout)

        monkeypatch.setattr(Measuring, "measure", scripted)

    return write


def test_questions_are_learned_until_their_answers_are_right(run: Run) -> None:
    """Measured before the first step and once an epoch; the written model answers as measured."""
    enough = VALIDATION.model_copy(update={"until": 1.0})
    out, output = run(
        questions=QUESTIONS, validation=enough, epochs=60, learning_rate=1e-2, batch_size=9
    )
    measured = figures(out, "accuracy")
    steps = [step for step, _ in measured]
    assert steps == list(range(len(steps)))
    assert len(steps) < 60
    assert measured[0][1] < 1.0 == measured[-1][1]
    assert output.metrics["accuracy"].value == 1.0
    assert output.counts["keptStep"] == output.counts["steps"] == steps[-1]
    assert output.counts["read-ok"] + output.counts.get("read-empty", 0) == 6 * len(steps)
    requests = [Request(id=q.id, prompt=q.prompt, n=1, seed_key=q.id) for q in QUESTIONS[:6]]
    greedy = Sampling(temperature=0, top_p=1, max_new_tokens=4)
    said = TransformersGenerator.load(out).generate(requests, greedy)
    assert [found[0].text for found in said] == [q.answer for q in QUESTIONS[:6]]


def test_a_warm_up_has_the_rates_of_its_long_schedule(run: Run) -> None:
    """Two of ten epochs of three steps: the first six of thirty rates, each row seen twice."""
    settings = {"questions": QUESTIONS, "batch_size": 3, "warmup_ratio": 0.4, "schedule": "linear"}
    out, output = run(epochs=10, stop_epochs=2, **settings)
    rates = [value for _, value in figures(out, "learningRate")]
    # Twelve of thirty steps rise to 1e-3.
    assert rates == pytest.approx([1e-3 * (step + 1) / 12 for step in range(6)])
    whole = [value for _, value in figures(run(epochs=10, **settings)[0], "learningRate")]
    assert whole[:6] == rates
    assert output.counts["steps"] == 6
    # A prompt of two tokens, an answer of one, and the end token.
    assert output.counts["tokens"] == 2 * 9 * 4


def test_the_best_model_is_kept(run: Run, script: Callable[..., None]) -> None:
    """Of the accuracies 0.1, 0.5, 0.5, 0.4 the model of the second is the result."""
    settings = {"questions": QUESTIONS, "batch_size": 9, "validation": VALIDATION}
    script(step0=0.1, step1=0.5, step2=0.5, step3=0.4)
    best, output = run(epochs=3, **settings)
    ended = VALIDATION.model_copy(update={"until": 0.5, "keep": "last"})
    assert equal(best, run(epochs=3, **(settings | {"validation": ended}))[0])
    assert output.metrics["accuracy"].value == pytest.approx(0.5)
    assert (output.counts["keptStep"], output.counts["steps"]) == (1, 3)
    settings["validation"] = VALIDATION.model_copy(update={"keep": "last"})
    last, output = run(epochs=3, **settings)
    assert not equal(last, best)
    assert output.metrics["accuracy"].value == pytest.approx(0.4)
    assert output.counts["keptStep"] == 3


def test_a_model_that_is_good_already_is_not_trained(
    run: Run, llama: Path, script: Callable[..., None]
) -> None:
    """Enough before the first step: the result is the model that was given."""
    script(step0=0.5)
    enough = VALIDATION.model_copy(update={"until": 0.5, "keep": "last"})
    out, output = run(questions=QUESTIONS, validation=enough)
    assert equal(out, llama)
    assert output.counts["steps"] == output.counts["keptStep"] == 0
    assert figures(out, "accuracy") == [(0, 0.5)]


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_the_best_model_survives_an_interruption(
    run: Run, tmp_path: Path, script: Callable[..., None], lora: Lora | None
) -> None:
    """Best after the first step, stopped after the second: the same result as undisturbed."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    script(step0=0.1, step1=0.5, step2=0.2, step3=0.4)
    settings = {"questions": QUESTIONS, "batch_size": 9, "validation": VALIDATION, "lora": lora}
    settings |= {"epochs": 3, "store": store}
    undisturbed = run(**settings)
    seen: list[int] = []
    with pytest.raises(StoppedError):
        run(
            progress=lambda step, *_, **__: seen.append(step),
            stopping=lambda: len(seen) >= 1,
            **settings,
        )
    again = run(**settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
    assert again[1].counts["keptStep"] == 1


@pytest.mark.parametrize(("look", "step"), [(1, 1), (2, 2), (3, 2), (5, 3)])
def test_a_stop_in_a_measurement_is_seen_at_once(
    run: Run, tmp_path: Path, look: int, step: int
) -> None:
    """It saves the step that was to be measured; the next attempt measures it first.

    After the first step it looks in its measurement, at the end of the next step, which spares the
    measurement, and so on.
    """
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    settings = {"questions": QUESTIONS, "batch_size": 9, "validation": VALIDATION}
    settings |= {"epochs": 3, "store": store}
    undisturbed = run(**settings)
    stop = Stop(look)
    with pytest.raises(StoppedError, match=f"after step {step} of 3; .* is saved"):
        run(progress=stop.progress, stopping=stop.asked, **settings)
    again = run(**settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
    assert [at for at, _ in figures(again[0], "accuracy")] == [0, 1, 2, 3]


def test_a_training_needs_something_to_learn(run: Run) -> None:
    """None of the three kinds of rows: said so."""
    with pytest.raises(UserError, match="none of the inputs instructions") as caught:
        run(pairs=PAIRS)
    assert caught.value.reason == "NothingToLearn"


@pytest.mark.parametrize("kind", [train_sft, train_dpo])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_are_trained_and_merged(
    run: Run, llama: Path, tmp_path: Path, kind: Any, dtype: torch.dtype
) -> None:
    """Linear layers change, all else does not; the result is as plain and small as the start."""
    model = loading._load(llama).model.to(dtype)
    model.config.dtype = dtype
    shutil.copytree(llama, tmp_path / "start")
    model.save_pretrained(tmp_path / "start")
    given = {"pairs": PAIRS} if kind is train_dpo else {}
    out, output = run(
        kind, model=tmp_path / "start", lora=Lora(rank=4), learning_rate=1e-2, **given
    )
    before, after = weights(tmp_path / "start"), weights(out)
    assert set(before) == set(after)
    assert {weight.dtype for weight in after.values()} == {dtype}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    # Four numbers a side: four projections of 32 to 32, three of 32 and 64.
    assert output.counts["trainableParameters"] == 2 * 4 * (4 * 64 + 3 * 96)
    assert {path.name for path in out.iterdir()} == {
        path.name for path in [*llama.iterdir(), out / model_files.CURVE]
    }


def test_dpo_with_adapters_has_the_start_as_its_reference(run: Run) -> None:
    """The first loss is ln 2, and the margin grows from there."""
    out, _ = run(
        train_dpo, pairs=PAIRS, epochs=4, batch_size=6, lora=Lora(rank=4), learning_rate=1e-2
    )
    losses = [value for _, value in figures(out, "loss")]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert figures(out, "rewardsMargin")[-1][1] > 0.01
