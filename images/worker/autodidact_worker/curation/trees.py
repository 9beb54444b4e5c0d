"""Takes the seed data out of ranked conversation trees. Pure.

Source: arXiv 2401.10020, section 3.1.1: of Open Assistant's trees the first turn, in one language;
the best-ranked replies are instructions (IFT); replies that people ranked are judged by a model,
and its judgements are kept where they agree with the people's order (EFT). What the paper leaves
open: prompts are dealt out by a hash of their text alone, so that equal prompts never part, not even
in runs with different seeds, of which one may go on from the other's model; a prompt's judgements
are kept all or none, those of the first attempt that agrees.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from autodidact_contract.records import (
    Conversation,
    Evaluation,
    Instruction,
    JudgedRanking,
    Message,
    RankedReplies,
    SeedPrompt,
)
from autodidact_contract.stages.data import BuildEft, BuildSeed
from autodidact_worker.runtime.errors import UserError

Part = Literal["instructions", "judged", "held-out", "validation"]
Disagreement = Literal["too-long", "unreadable", "inversion", "tie"]
_SALT = 0
"""Of the hash that deals the prompts out."""
REASONS: tuple[Disagreement, ...] = ("tie", "inversion", "unreadable", "too-long")
"""Why a prompt's judgements are not kept, the mildest first."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A first prompt and the replies of people to it, in the order of the data.

    Attributes:
        ranks: 1 is the best; several may share one.
    """

    prompt: str
    replies: tuple[str, ...]
    ranks: tuple[int, ...]

    @property
    def ordered(self) -> bool:
        """Whether people told any two of the replies apart."""
        return len(set(self.ranks)) > 1

    @property
    def best(self) -> str:
        """The first reply with the best rank."""
        return self.replies[self.ranks.index(min(self.ranks))]


def first_turns(
    rows: Iterable[Message | Conversation], language: str
) -> tuple[list[Ranked], Counter[str]]:
    """Returns the first prompts in a language with their replies, and what was left out.

    Counts: ``trees``; ``unprompted`` ones, which begin with a reply; ``other-language``, first
    prompts in another one; ``foreign-replies``, replies in another one than was asked for;
    ``deleted`` messages; ``orphans``, messages whose parent is not there; ``cycles``, messages that
    are their own ancestors; ``unanswered`` prompts; ``unranked``, prompts with several replies of
    which one has no rank; ``duplicates``, prompts whose text, but for white space around it, was
    there before.

    Args:
        rows: Trees, or the messages of trees in any order.
        language: As the rows name it; ``en`` also takes ``en-GB``.

    Raises:
        UserError: ``DuplicateIds``: two messages have one id.
    """
    counts: Counter[str] = Counter()
    children = _children(rows, counts)
    found: dict[str, Ranked] = {}
    for root in children[None]:
        counts["trees"] += 1
        if root.role != "prompter":
            counts["unprompted"] += 1
        elif root.deleted:
            counts["deleted"] += 1
        elif not _speaks(root, language):
            counts["other-language"] += 1
        elif root.text.strip() in found:
            counts["duplicates"] += 1
        elif (turn := _turn(root, children[root.message_id], language, counts)) is not None:
            found[root.text.strip()] = turn
    return list(found.values()), counts


def _children(
    rows: Iterable[Message | Conversation], counts: Counter[str]
) -> dict[str | None, list[Message]]:
    """Returns the messages by the id of their parent; None are the roots."""
    messages: dict[str, Message] = {}
    parents: dict[str, str | None] = {}
    queue = [
        (row.prompt, None) if isinstance(row, Conversation) else (row, row.parent_id)
        for row in rows
    ]
    for message, parent in queue:
        if message.message_id in messages:
            raise UserError(
                "DuplicateIds",
                f"two messages have the id {message.message_id}; give each message its own",
            )
        messages[message.message_id], parents[message.message_id] = message, parent
        queue += [(reply, message.message_id) for reply in message.replies]
    children: dict[str | None, list[Message]] = defaultdict(list)
    for name, parent in parents.items():
        children[parent].append(messages[name])
    reached: set[str | None] = set()
    waiting: list[str | None] = [None]
    while waiting:
        parent = waiting.pop()
        reached.add(parent)
        waiting += [message.message_id for message in children.get(parent, ())]
    for name in messages.keys() - reached:
        counts["orphans" if _hangs(name, parents) else "cycles"] += 1
    return children


def _hangs(name: str, parents: dict[str, str | None]) -> bool:
    """Returns whether the ancestors of a message end at one that is not there."""
    seen: set[str | None] = set()
    current: str | None = name
    while current in parents:
        if current in seen:
            return False
        seen.add(current)
        current = parents[current]
    return True


def _turn(
    root: Message, replies: Sequence[Message], language: str, counts: Counter[str]
) -> Ranked | None:
    there = [reply for reply in replies if reply.role == "assistant" and reply.text.strip()]
    kept = [reply for reply in there if not reply.deleted]
    counts["deleted"] += len(there) - len(kept)
    spoken = [reply for reply in kept if _speaks(reply, language)]
    counts["foreign-replies"] += len(kept) - len(spoken)
    ranks = [reply.rank for reply in spoken]
    if not spoken or not root.text.strip():
        counts["unanswered"] += 1
        return None
    known = [rank for rank in ranks if rank is not None]
    if len(spoken) > 1 and len(known) < len(spoken):
        counts["unranked"] += 1
        return None
    best = min(known, default=0)
    return Ranked(
        prompt=root.text,
        replies=tuple(reply.text for reply in spoken),
        ranks=tuple(1 if rank is None else rank - best + 1 for rank in ranks),
    )


def _speaks(message: Message, language: str) -> bool:
    own, wanted = message.lang.lower().replace("_", "-"), language.lower().replace("_", "-")
    return own == wanted or own.startswith(f"{wanted}-")


def split(turns: Sequence[Ranked], config: BuildSeed) -> dict[Part, list[Ranked]]:
    """Returns the parts of the seed data; each prompt is in one at most.

    A prompt whose replies people did not tell apart can only be an instruction. Of the others
    ``instruction_share`` are; of the rest the first ``validation_prompts`` are put aside, and
    ``held_out_share`` of what then remains.

    Args:
        turns: Each prompt once.
        config: Shares; its seed changes nothing.
    """
    dealt = sorted(turns, key=lambda turn: _dealt("order", turn))
    parts: dict[Part, list[Ranked]] = {
        "instructions": [],
        "judged": [],
        "held-out": [],
        "validation": [],
    }
    for turn in dealt:
        if not turn.ordered or _dealt("use", turn) < config.instruction_share:
            parts["instructions"].append(turn)
        elif len(parts["validation"]) < config.validation_prompts:
            parts["validation"].append(turn)
        elif _dealt("held-out", turn) < config.held_out_share:
            parts["held-out"].append(turn)
        else:
            parts["judged"].append(turn)
    del parts["instructions"][config.instructions :]
    return parts


def row(turn: Ranked, part: Part) -> Instruction | RankedReplies | SeedPrompt:
    """Returns a prompt as the row of its part."""
    if part == "instructions":
        return Instruction(prompt=turn.prompt, response=turn.best)
    if part == "validation":
        return SeedPrompt(prompt=turn.prompt)
    return RankedReplies(prompt=turn.prompt, replies=turn.replies, ranks=turn.ranks)


def agreeing(
    judged: JudgedRanking, agreement: Literal["no-inversion", "strict"]
) -> list[Evaluation] | Disagreement:
    """Returns the judgements of the first attempt that agrees with the people, or why none does.

    Args:
        judged: Replies to one prompt, each with one vote for each attempt.
        agreement: Whether replies of different ranks may share a score.
    """
    if not all(judged.votes):
        return "too-long"
    reasons: list[Disagreement] = []
    for attempt in zip(*judged.votes, strict=True):
        scores = [vote.score for vote in attempt]
        reason = disagreement(judged.ranks, scores, agreement)
        if reason is None:
            return [
                Evaluation(prompt=judged.prompt, response=reply, judgement=vote.text, score=score)
                for reply, vote, score in zip(judged.replies, attempt, scores, strict=True)
                if score is not None
            ]
        reasons.append(reason)
    return min(reasons, key=REASONS.index)


def disagreement(
    ranks: Sequence[int],
    scores: Sequence[float | None],
    agreement: Literal["no-inversion", "strict"],
) -> Disagreement | None:
    """Returns in what scores do not agree with ranks, None where they do.

    Replies of one rank may have any scores.
    """
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return "unreadable"
    tied = False
    for (rank, score), (other_rank, other) in combinations(zip(ranks, known, strict=True), 2):
        order = (other_rank - rank) * (score - other)
        if order < 0:
            return "inversion"
        tied |= rank != other_rank and score == other
    return "tie" if tied and agreement == "strict" else None


def rebalanced(rows: Sequence[Evaluation], config: BuildEft) -> list[Evaluation]:
    """Returns the judgements without some of those of the most common score.

    It keeps at most ``max_score_share`` of what is returned. Where there is one score only, all are
    kept: there is nothing to balance them against.
    """
    counts = Counter(row.score for row in rows)
    if len(counts) < 2 or config.max_score_share == 1:
        return list(rows)
    # Of equally common scores the highest: it is the high ones that models favour.
    common = max(counts, key=lambda score: (counts[score], score))
    others = len(rows) - counts[common]
    allowed = int(config.max_score_share * others / (1 - config.max_score_share) + 1e-9)
    of_it = sorted(
        (place for place, row in enumerate(rows) if row.score == common),
        key=lambda place: _draw(config.seed, "rebalance", f"{place}/{rows[place].prompt}"),
    )
    dropped = set(of_it[allowed:])
    return [row for place, row in enumerate(rows) if place not in dropped]


def _dealt(use: str, turn: Ranked) -> float:
    """Returns a number from 0 to 1 that depends on the prompt alone."""
    return _draw(_SALT, use, turn.prompt.strip())


def _draw(seed: int, use: str, text: str) -> float:
    """Returns a number from 0 to 1 that depends on the arguments alone."""
    raw = hashlib.sha256(f"{seed}/build-seed/{use}/{text}".encode()).digest()
    return int.from_bytes(raw[:8], "big") / 2**64
