"""Training: what is learned, at which rate, with what loss, and that a kill changes nothing."""

from pathlib import Path

from autodidact_contract.stages.training import Training
from autodidact_worker.models import loading
from autodidact_worker.training import start
from support import chain


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


def test_configs_are_trainings() -> None:
    """The toy's settings are valid stage configs."""
    assert isinstance(chain.sft_config(), Training)
    assert isinstance(chain.dpo_config(), Training)
