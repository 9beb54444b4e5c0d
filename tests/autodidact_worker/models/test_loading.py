import shutil
from pathlib import Path

import pytest
import torch

from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import UserError
from support.edited_models import edited
from support.tiny import character_tokenizer

CHAT = (
    "{{ bos_token }}{% for m in messages %}U|{{ m.content }}|{% endfor %}"
    "{% if add_generation_prompt %}A|{% endif %}"
)


@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_models_own_chat_template_is_used_with_one_bos(adds_bos: bool) -> None:
    """Template and tokenizer may both know BOS; the model sees it once."""
    made = character_tokenizer(CHAT, adds_bos=adds_bos)
    ids = loading.prompt_ids(made, "hi")
    assert made.decode(ids) == "<bos>U|hi|A|"
    assert ids.count(made.bos_token_id) == 1
    assert made(loading.prompt_text(made, "hi")).input_ids == ids


def test_without_a_template_the_prompt_is_the_text() -> None:
    """Plain models get the text, with BOS only if their tokenizer adds it."""
    assert loading.prompt_text(character_tokenizer(), "hi") == "hi"
    assert loading.prompt_ids(character_tokenizer(adds_bos=True), "hi")[0] == 3
    assert len(loading.prompt_ids(character_tokenizer(), "hi")) == 2


def test_a_completion_is_learned_with_its_end() -> None:
    """What training appends is what sampling stops at."""
    made = character_tokenizer()
    assert made(loading.completion_text(made, "ab")).input_ids[-1] == made.eos_token_id


@pytest.mark.parametrize("content", ["nothing", "pickle", "no end token"])
def test_a_folder_that_is_no_model_is_the_users_to_fix(
    content: str, llama: Path, tmp_path: Path
) -> None:
    """Missing files and pickled weights are refused, and so is a tokenizer without an end."""
    path = tmp_path / "m"
    if content == "nothing":
        path.mkdir()
    elif content == "pickle":
        shutil.copytree(llama, path)
        (path / "model.safetensors").unlink()
        torch.save({}, path / "pytorch_model.bin")
    else:
        edited(llama, path, "tokenizer_config.json", eos_token=None)
    with pytest.raises(UserError) as caught:
        loading.load(path)
    assert caught.value.reason == ("UnsafeModel" if content == "pickle" else "InvalidModel")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_hidden_layers", 5, r"lacks \d+ of the weights .*model\.layers\.2\.input_layernorm"),
        ("vocab_size", 300, "in another shape: .*embed_tokens"),
    ],
)
def test_a_config_of_other_weights_is_the_users_to_fix(
    field: str, value: int, words: str, llama: Path, tmp_path: Path
) -> None:
    """Where transformers would go on with random numbers, the weights that it lacks are named."""
    path = edited(llama, tmp_path / "m", "config.json", **{field: value})
    with pytest.raises(UserError, match=words) as caught:
        loading.load(path)
    assert caught.value.reason == "InvalidModel"


def test_a_model_is_loaded_once_while_it_is_used(llama: Path, other_llama: Path) -> None:
    """The same folder gives the same object; another model takes its place."""
    first = loading.load(llama)
    assert loading.load(llama) is first
    loading.load(other_llama)
    assert loading.load(llama) is not first
