"""Stage ``evaluate`` on random tiny models."""

from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import (
    Battle,
    RankedReplies,
    Ranking,
)
from autodidact_contract.stages.judging import (
    OPPONENTS,
)
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from support import completion_servers
from support.sampling_stages import SAMPLING, evaluate_config

pytestmark = pytest.mark.usefixtures("short_rubric")


def test_a_held_out_prompt_that_is_too_long_is_the_users_to_fix(bench: Any, llama: Path) -> None:
    """Data a person gave is never dropped silently; the message names the row and the remedy."""
    rows_given = [RankedReplies(prompt="a" * 3000, replies=("x", "y"), ranks=(1, 2))]
    with pytest.raises(UserError, match=r"prompt [0-9a-f]{16}-0 has .* context of 2048; shorten"):
        bench.run(
            evaluate_config(), model=bench.put("import", llama), heldout=bench.put_rows(rows_given)
        )


def test_the_oracle_measures_our_replies_and_decides_battles(
    bench: Any, stages: dict[str, Any]
) -> None:
    """Eighty battles with one verdict each, shares that add up, and the quality of our replies."""
    config, inputs = stages["evaluate"]
    given = bench.run(config, **inputs)
    artifact = bench.result(given)
    folder = bench.fetch(given)
    battles = [row for _, part in rows.read_parts(folder, "battles", Battle) for row in part]
    rankings = [row for _, part in rows.read_parts(folder, "rankings", Ranking) for row in part]
    assert len(battles) == artifact.counts["battles"] == 80
    assert len(rankings) == artifact.counts["ranked-prompts"] == 100
    shares = [artifact.metrics[name] for name in ("winRate", "drawRate", "lossRate")]
    assert sum(share or 0 for share in shares) == pytest.approx(1)
    mean = sum(battle.quality or 0 for battle in battles) / 80
    assert artifact.metrics["quality"] == pytest.approx(mean)


def test_greedy_replies_are_measured_beside_sampled_ones(
    bench: Any, stages: dict[str, Any]
) -> None:
    """Where all replies are greedy, their quality is that of the greedy ones beside samples."""
    config, inputs = stages["evaluate"]
    alone = {name: given for name, given in inputs.items() if name != "previous"}
    greedy = evaluate_config(reply_sampling=SAMPLING.model_copy(update={"temperature": 0.0}))
    sampled, likely = (bench.result(bench.run(one, **alone)).metrics for one in (config, greedy))
    assert likely["quality"] == likely["greedyQuality"] == sampled["greedyQuality"]
    assert sampled["quality"] != sampled["greedyQuality"]


def test_every_opponent_is_met(bench: Any, stages: dict[str, Any]) -> None:
    """Figures of each; the same model under two names has the same battles; lengths have a ratio."""
    config, inputs = stages["evaluate"]
    met = {"first": inputs["previous"], "baseline": inputs["model"]}
    given = bench.run(config, **inputs, **met)
    artifact = bench.result(given)
    folder = bench.fetch(given)
    battles = [row for _, part in rows.read_parts(folder, "battles", Battle) for row in part]
    by_name = {
        name: [
            row.model_copy(update={"opponent": "previous"})
            for row in battles
            if row.opponent == name
        ]
        for name in OPPONENTS
    }
    assert [len(found) for found in by_name.values()] == [80, 80, 80]
    assert by_name["first"] == by_name["previous"] != by_name["baseline"]
    figures = artifact.metrics
    for name in ("winRate", "drawRate", "lossRate", "gain"):
        assert figures[f"{name}First"] == figures[name]
    assert figures["gain"] == pytest.approx((figures["winRate"] or 0) - (figures["lossRate"] or 0))
    assert (figures["drawRateBaseline"], figures["gainBaseline"]) == (1.0, 0.0)
    lengths = [
        sum(len(getattr(row, side)) for row in by_name["first"]) for side in ("ours", "theirs")
    ]
    assert figures["lengthRatio"] == pytest.approx(lengths[0] / lengths[1])
    assert artifact.counts["battles-first"] == artifact.counts["battles-baseline"] == 80


def test_a_server_decides_battles(bench: Any, stages: dict[str, Any]) -> None:
    """It is asked in both orders; as it finds the first one better, every battle is a tie."""
    _, inputs = stages["evaluate by referee"]
    alone = {name: given for name, given in inputs.items() if name != "referee"}
    with completion_servers.scripted("judge-1") as served:
        served.reply = lambda _: completion_servers.said("Verdict: A")
        server = {"url": served.url, "model": "judge-1"}
        config = evaluate_config(rubric="short-v1", judge="server", server=server, prompts=6)
        given = bench.run(config, **alone)
    folder = bench.fetch(given)
    battles = [row for _, part in rows.read_parts(folder, "battles", Battle) for row in part]
    assert {row.verdicts for row in battles} <= {("win", "loss"), ("tie", "tie")}
    assert len(served.asked) == 2 * sum(row.verdicts == ("win", "loss") for row in battles) > 0
    figures = bench.result(given)
    assert (figures.metrics["drawRate"], figures.counts["invalid-verdicts"]) == (1.0, 0)


def test_battles_by_a_model_need_a_referee(bench: Any, stages: dict[str, Any]) -> None:
    """A missing referee is said before anything is sampled."""
    config, inputs = stages["evaluate by referee"]
    without = {name: given for name, given in inputs.items() if name != "referee"}
    with pytest.raises(UserError, match="referee"):
        bench.run(config, **without)


def test_without_a_predecessor_there_are_no_battles(bench: Any, stages: dict[str, Any]) -> None:
    """The first model is judged and measured, but fights nobody."""
    config, inputs = stages["evaluate"]
    alone = {name: given for name, given in inputs.items() if name != "previous"}
    artifact = bench.result(bench.run(config, **alone))
    assert "battles" not in artifact.counts
    assert artifact.metrics["quality"] is not None
