"""Rules between the fields of a SelfRewardRun."""

from typing import TYPE_CHECKING

from autodidact_contract.api.answers import LATEX
from autodidact_contract.api.rules import Rule
from autodidact_contract.api.run import Source
from autodidact_contract.api.training import falls

if TYPE_CHECKING:
    from autodidact_contract.api.selfreward import SelfRewardSpec

NO_PAIRS = (
    "learning positive makes no pairs, so that it excludes metaJudge, dpo.consistency, "
    "dpo.checkpoints, dpo.nllCoefficient, pairs.rho, pairs.anchoredLoser, pairs.minScoreGap, "
    "pairs.maxChosenLength and gates.minMeanGap"
)
NO_FORK = (
    "from and learning positive exclude each other: each of its rounds starts SFT again from the "
    "given model"
)


def _has_its_data(spec: "SelfRewardSpec") -> bool:
    return bool(spec.data.ranked or (spec.data.instructions and spec.data.held_out))


def _wants_pairs(spec: "SelfRewardSpec") -> bool:
    """Returns whether an option is set that only pairs, or DPO on them, make use of."""
    pairs, dpo = spec.pairs, spec.dpo
    return bool(
        spec.meta_judge
        or dpo.consistency
        or dpo.checkpoints
        or dpo.nll_coefficient
        or pairs.rho
        or pairs.anchored_loser
        or pairs.min_score_gap
        or pairs.max_chosen_length
        or spec.gates.min_mean_gap
    )


def _needs_no_oracle(spec: "SelfRewardSpec") -> bool:
    """Returns whether checkpoints are chosen without an oracle."""
    return spec.dpo.checkpoints is None or spec.dpo.checkpoints.judge != "oracle"


def _is_toy(source: Source | None) -> bool:
    return source is not None and source.uri.startswith("toy://")


RULES: "tuple[Rule[SelfRewardSpec], ...]" = (
    Rule(
        message="data.ranked, or data.instructions and data.heldOut, are needed",
        cel="has(self.data.ranked) || (has(self.data.instructions) && has(self.data.heldOut))",
        holds=_has_its_data,
    ),
    Rule(
        message="data.ranked builds the evaluations; give one of the two",
        cel="!(has(self.data.ranked) && has(self.data.evaluations))",
        holds=lambda spec: not (spec.data.ranked and spec.data.evaluations),
    ),
    Rule(
        message="reward verifier and data.questions need each other",
        cel="(self.reward == 'verifier') == has(self.data.questions)",
        holds=lambda spec: (spec.reward == "verifier") == (spec.data.questions is not None),
    ),
    Rule(
        message="dpo.checkpoints needs data.validation or data.ranked",
        cel="!has(self.dpo.checkpoints) || has(self.data.validation) || has(self.data.ranked)",
        holds=lambda spec: bool(
            spec.dpo.checkpoints is None or spec.data.validation or spec.data.ranked
        ),
    ),
    Rule(
        message="metaJudge needs reward judge",
        cel="self.reward == 'judge' || !has(self.metaJudge)",
        holds=lambda spec: spec.reward == "judge" or spec.meta_judge is None,
    ),
    Rule(
        message="learning positive needs reward judge",
        cel="self.reward == 'judge' || self.learning == 'dpo'",
        holds=lambda spec: spec.reward == "judge" or spec.learning == "dpo",
    ),
    Rule(
        message="dpo.consistency and pairs.anchoredLoser need reward judge or implicit",
        cel="self.reward != 'verifier' || !(self.dpo.consistency || self.pairs.anchoredLoser)",
        holds=lambda spec: (
            spec.reward != "verifier" or not (spec.dpo.consistency or spec.pairs.anchored_loser)
        ),
    ),
    Rule(
        message=NO_PAIRS,
        cel="self.learning == 'dpo' || !(has(self.metaJudge) || self.dpo.consistency || "
        "has(self.dpo.checkpoints) || self.dpo.nllCoefficient > 0.0 || "
        "self.pairs.rho.size() > 0 || self.pairs.anchoredLoser || "
        "self.pairs.minScoreGap > 0.0 || has(self.pairs.maxChosenLength) || "
        "has(self.gates.minMeanGap))",
        holds=lambda spec: spec.learning == "dpo" or not _wants_pairs(spec),
    ),
    Rule(
        message=NO_FORK,
        cel="self.learning == 'dpo' || !has(self.from)",
        holds=lambda spec: spec.learning == "dpo" or spec.from_ is None,
    ),
    Rule(
        message="gates.minScoreEntropy needs reward judge",
        cel="self.reward == 'judge' || !has(self.gates.minScoreEntropy)",
        holds=lambda spec: spec.reward == "judge" or spec.gates.min_score_entropy is None,
    ),
    Rule(
        message="gates.maxTieRate needs reward judge or implicit",
        cel="self.reward != 'verifier' || !has(self.gates.maxTieRate)",
        holds=lambda spec: spec.reward != "verifier" or spec.gates.max_tie_rate is None,
    ),
    Rule(
        message="metaJudge needs judge.votes of at least 2",
        cel="!has(self.metaJudge) || self.judge.votes >= 2",
        holds=lambda spec: spec.meta_judge is None or spec.judge.votes >= 2,
    ),
    Rule(
        message="gates.minGain needs previous in evaluation.against",
        cel="!has(self.gates.minGain) || 'previous' in self.evaluation.against",
        holds=lambda spec: spec.gates.min_gain is None or "previous" in spec.evaluation.against,
    ),
    Rule(
        message="gates.maxLengthRatio needs first in evaluation.against",
        cel="!has(self.gates.maxLengthRatio) || 'first' in self.evaluation.against",
        holds=lambda spec: (
            spec.gates.max_length_ratio is None or "first" in spec.evaluation.against
        ),
    ),
    Rule(
        message="evaluation.against must not name one twice",
        cel="self.evaluation.against.all(a, self.evaluation.against.exists_one(b, a == b))",
        holds=lambda spec: len(set(spec.evaluation.against)) == len(spec.evaluation.against),
    ),
    Rule(
        message="evaluation.judge oracle needs data.heldOut from a toy:// task",
        cel="self.evaluation.judge != 'oracle' || (has(self.data.heldOut) ? self.data.heldOut.uri : "
        "has(self.data.ranked) ? self.data.ranked.uri : 'toy://').startsWith('toy://')",
        holds=lambda spec: spec.evaluation.judge != "oracle" or _is_toy(spec.seed_source),
    ),
    Rule(
        message="dpo.checkpoints.judge oracle needs data.validation from a toy:// task",
        cel="!has(self.dpo.checkpoints) || self.dpo.checkpoints.judge != 'oracle' || "
        "(has(self.data.validation) ? self.data.validation.uri : has(self.data.ranked) ? "
        "self.data.ranked.uri : 'toy://').startsWith('toy://')",
        holds=lambda spec: (
            _needs_no_oracle(spec) or _is_toy(spec.data.validation or spec.data.ranked)
        ),
    ),
    Rule(
        message="judge.minValid must not be above judge.votes",
        cel="self.judge.minValid <= self.judge.votes",
        holds=lambda spec: spec.judge.min_valid <= spec.judge.votes,
    ),
    Rule(
        message="prompts.minWords must not be above prompts.maxWords",
        cel="self.prompts.minWords <= self.prompts.maxWords",
        holds=lambda spec: spec.prompts.min_words <= spec.prompts.max_words,
    ),
    falls("warmUp", lambda spec: spec.warm_up),
    falls("dpo", lambda spec: spec.dpo),
    # The definition of this version lets it pass, so that Python alone can name it.
    Rule(message=LATEX.message, holds=LATEX.holds),
)
