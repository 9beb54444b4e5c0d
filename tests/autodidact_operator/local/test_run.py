"""A run on one machine, as far as no worker is needed; ``system/processes`` runs whole ones."""

from autodidact_operator.local.run import run_ref

SPEC = {"model": {"uri": "toy://reft/model"}}


def test_a_run_is_the_same_run_when_it_is_given_again() -> None:
    """Kind, namespace, name and spec make the uid, so that a second invocation goes on."""
    first = run_ref("ReFTRun", "team", "a", SPEC)
    assert first == run_ref("ReFTRun", "team", "a", dict(SPEC))
    others = [
        run_ref("SelfRewardRun", "team", "a", SPEC),
        run_ref("ReFTRun", "other", "a", SPEC),
        run_ref("ReFTRun", "team", "b", SPEC),
        run_ref("ReFTRun", "team", "a", {**SPEC, "seed": 1}),
    ]
    assert len({first.uid, *(other.uid for other in others)}) == 5
