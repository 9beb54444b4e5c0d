from autodidact_worker.curation import prompts
from autodidact_worker.curation.pools import Pools
from autodidact_worker.generation import Completion
from autodidact_worker.judging import rubrics
from support.sampling_stages import prompts_config


def test_the_very_same_prompt_is_no_new_one() -> None:
    """Where ROUGE is to drop nothing, an exact duplicate is dropped all the same, and counted."""
    pools = Pools(
        config=prompts_config(max_rouge=1.0), seeds=[], generated=[], novelty=prompts.Novelty([])
    )
    for said in ("Say it.", "Say it!", "Say it."):
        completion = Completion(text=said, tokens=3, finish="stop")
        call = prompts.Call(prompt="", demonstrations=())
        pools.offer(rubrics.get("toy-copy-v1"), call, completion)
    assert [row.prompt for row in pools.accepted] == ["Say it.", "Say it!"]
    assert [row.rouge_max for row in pools.accepted] == [0.0, 1.0]
    assert pools.counts == {"rejected-duplicate": 1}
