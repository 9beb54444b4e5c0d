"""The prompts that are shown as demonstrations, and the ones accepted so far."""

from collections import Counter
from dataclasses import dataclass, field

from autodidact_contract.records import Prompt
from autodidact_contract.stages.data import GeneratePrompts
from autodidact_worker.curation import prompts
from autodidact_worker.generation import Completion
from autodidact_worker.judging.rubrics import Rubric


@dataclass(kw_only=True)
class Pools:
    """The texts that may be shown, and those that new prompts must differ from.

    Attributes:
        config: Filters and limits.
        seeds: Seed prompts that pass the filters, and so may be shown.
        generated: All accepted prompts, earlier iterations first.
        novelty: Everything seen.
        accepted: What this stage accepted.
        counts: Completions by what became of them.
    """

    config: GeneratePrompts
    seeds: list[str]
    generated: list[str]
    novelty: prompts.Novelty
    accepted: list[Prompt] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> int:
        """How many more are wanted."""
        return self.config.count - len(self.accepted)

    def offer(self, rubric: Rubric, call: prompts.Call, completion: Completion) -> None:
        """Accepts the prompt in a completion, or counts why not."""
        text = rubric.cut(completion.text, completion.finish == "stop")
        reason = "truncated" if text is None else prompts.rejection(text, self.config)
        rouge = 0.0
        if text is not None and reason is None:
            rouge = self.novelty.rouge_max(text)
            reason = "similar" if rouge > self.config.max_rouge else None
            if text in self.novelty:
                reason = "duplicate"
        if text is None or reason:
            self.counts[f"rejected-{reason}"] += 1
            return
        self.accepted.append(prompts.accepted(text, call.demonstrations, rouge))
        self.generated.append(text)
        self.novelty.add(text)

    def explain(self, attempts: int) -> str:
        """Returns why none of so many attempts was accepted, the most frequent reasons first."""
        reasons = [(name, n) for name, n in self.counts.most_common() if n and name != "attempted"]
        shown = ", ".join(f"{n} {name.replace('-', ' ', 1)}" for name, n in reasons[:3])
        return (
            f"none of {attempts} attempts gave an acceptable prompt ({shown}); use a stronger "
            "prompt writer, more varied instructions, or wider filters in prompts"
        )
