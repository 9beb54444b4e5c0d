"""What the page's words mean, and where the paper (arXiv 2401.10020) has them."""

GLOSSARY: tuple[tuple[str, str, str], ...] = (
    (
        "M0, M1, M2, ...",
        (
            "M0 is the given model. M1 is M0 after SFT on instructions and judgements. Round t trains "
            "M(t+1) from M(t) by DPO on pairs that M(t) wrote and judged itself."
        ),
        "section 2.4",
    ),
    (
        "Score",
        (
            "Mean of the judge's valid votes on a reply, by an additive rubric from 0 to 5. The model "
            "judges itself, so scores of different rounds are by different judges."
        ),
        "section 2.2",
    ),
    (
        "Parse rate",
        "Share of votes that end in a score the parser accepts.",
        "ours",
    ),
    (
        "Pair",
        "Best and worst reply to one prompt. Prompts whose replies have equal scores give none.",
        "section 2.3",
    ),
    ("Gap", "Mean score of chosen minus mean score of rejected replies.", "ours"),
    (
        "Quality",
        (
            "The task's own exact measure of replies to held-out prompts, sampled ones, and greedy "
            "ones beside them. Only built-in tasks have one."
        ),
        "ours",
    ),
    (
        "Win, tie, loss",
        (
            "Both models answer the same held-out prompts. A judge sees both orders of the two "
            "replies; orders that disagree are a tie. Equal replies are a tie too."
        ),
        "section 3.1.2",
    ),
    (
        "95 % interval",
        (
            "Wilson's score interval of a share, without continuity correction. It covers the choice "
            "of held-out prompts, not the choice of the seed: one run is one sample."
        ),
        "ours",
    ),
    (
        "Pairwise accuracy",
        (
            "Share of reply pairs that the judge orders as people did, pooled over all prompts. Equal "
            "scores count as a miss; pairs that people tied, or without a score, are left out."
        ),
        "section 3.1.2",
    ),
    (
        "5-best",
        (
            "Of the replies to which the judge gives the full score, the share that people ranked "
            "first. Not defined where it gives none."
        ),
        "section 3.1.2",
    ),
    (
        "Exact match",
        "Share of prompts whose replies the judge puts in exactly people's order; a tie is a miss.",
        "section 3.1.2",
    ),
    (
        "Spearman, Kendall",
        (
            "Rank correlation of scores and people's ranks (Kendall: tau-b) for each prompt, then the "
            "mean. Prompts with all scores equal have none and are counted as skipped."
        ),
        "section 3.1.2",
    ),
    (
        "Length control",
        (
            "Of the replies with scores near the best the shortest wins, of those near the worst the "
            "longest loses."
        ),
        "arXiv 2407.19594",
    ),
    (
        "Agreement with the model before",
        (
            "(Kendall's tau-b + 1) / 2 of the two models' rankings of the same replies, mean over the "
            "prompts. With consistency on, pairs count in this share as they are and in the rest the "
            "other way round."
        ),
        "arXiv 2410.12735",
    ),
    (
        "Battle of judgements",
        (
            "The model compares two of its own judgements of one reply, without their scores, in both "
            "orders; the best and the worst rated one become a pair."
        ),
        "arXiv 2407.19594",
    ),
    (
        "Reward margin",
        "beta times the change of log-probability against the reference, chosen minus rejected.",
        "DPO, arXiv 2305.18290",
    ),
    (
        "ROUGE-L",
        "Longest common subsequence of words, as F1; new prompts too close to others are refused.",
        "section 3.1.3",
    ),
)
