"""What the page's words mean, and where the paper (arXiv 2401.08967) has them."""

GLOSSARY: tuple[tuple[str, str, str], ...] = (
    (
        "Warm-up",
        (
            "The given model after SFT on one chain of thought per question, ended early. "
            "Reinforcement starts from it and is held close to it."
        ),
        "section 3.1",
    ),
    (
        "ReFT",
        (
            "The warm-up reinforced: it samples its own ways to the answers of the training "
            "questions and learns from whether the answer is right, by PPO or GRPO."
        ),
        "section 3.1; GRPO: arXiv 2402.03300",
    ),
    (
        "SFT continued",
        (
            "The warm-up with more SFT on the same rows, for as many forward and backward passes "
            "as ReFT had."
        ),
        "section 4.2; the budget is ours",
    ),
    (
        "Offline self-training",
        "SFT of the given model on its own right answers, sampled once, beside the given rows.",
        "section 4.2",
    ),
    (
        "Online self-training",
        "As ReFT, but it only imitates its right answers and the given rows: no wrong answers, no KL.",
        "section 4.2",
    ),
    ("Greedy", "The answer made of the most likely token at each step.", "section 4.3"),
    (
        "Vote@k",
        (
            "The value that most of k sampled answers have. Equal values are one; of equally "
            "frequent ones, the one sampled first."
        ),
        "section 4.3",
    ),
    (
        "Rerank@k",
        "Of k sampled answers, the one that a classifier trained on right and wrong ones likes best.",
        "section 4.3",
    ),
    (
        "Different values",
        (
            "How many different values the samples of a test question have, a mean over the "
            "questions. With 1 they all agree, right or wrong, and a vote changes nothing."
        ),
        "ours",
    ),
    (
        "95 % interval",
        (
            "Of a share: Wilson's score interval. Of a difference: Newcombe's method 10 for the "
            "same questions answered twice. They cover the choice of test questions, not the "
            "choice of the seed: one run is one sample."
        ),
        "ours",
    ),
    (
        "p",
        (
            "McNemar's exact test, two-sided: how often a fair coin would be as far off on the "
            "questions that only one of the two got right. From 0.05 on, a difference is called not "
            "distinguishable from chance. Of many comparisons a few are below that by chance: p is "
            "not corrected for their number."
        ),
        "ours",
    ),
    (
        "Reward",
        (
            "1 for a right answer, a little for a wrong one that can be read, else 0. PPO takes a "
            "KL penalty off it, which is not in the plot."
        ),
        "section 3.1",
    ),
    (
        "KL",
        (
            "How far the policy has moved from the warm-up: summed log-probability ratio of an "
            "answer's tokens, in nats, as a mean over answers."
        ),
        "section 3.1",
    ),
    (
        "Clip fraction",
        "Share of tokens whose probability moved so far in a pass that PPO ignores the rest.",
        "ours",
    ),
    (
        "Explained variance",
        (
            "How much of the returns' variance the value head foresees: 1 all of it, 0 no more "
            "than their mean."
        ),
        "ours",
    ),
    (
        "Cut, unreadable",
        (
            "An answer that reached its length limit; an answer that no value can be read out of, "
            "by the rules of the run."
        ),
        "ours",
    ),
    (
        "Nothing to learn",
        "A question whose answers all have the same reward: GRPO compares them, and learns nothing.",
        "ours",
    ),
)
