import asyncio

from autodidact_operator.cluster import events
from autodidact_operator.cluster.events import Recorder
from autodidact_operator.errors import (
    ApiUnavailableError,
)
from support.control import Body, Clock, FakeKube


def test_an_event_is_posted_about_the_run(kube: FakeKube, recorder: Recorder, run: Body) -> None:
    """An Event names the run, the reason and who says so."""
    recorder.record(run, "Normal", "StageStarted", "judge-1")
    asyncio.run(recorder.post_next())
    event = kube.calls[0][1][2]
    assert event["involvedObject"]["uid"] == "uid-a"
    assert (event["type"], event["reason"], event["message"]) == (
        "Normal",
        "StageStarted",
        "judge-1",
    )
    assert event["metadata"]["namespace"] == "research"


def test_a_repeated_event_is_posted_once_in_ten_minutes(
    recorder: Recorder, run: Body, clock: Clock
) -> None:
    """The same reason and message of the same run are told again only after a while."""
    assert recorder.record(run, "Normal", "A", "text")
    assert not recorder.record(run, "Normal", "A", "text")
    assert recorder.record(run, "Normal", "A", "other text")
    clock.advance(events.REPEAT_AFTER_S)
    assert recorder.record(run, "Normal", "A", "text")


def test_an_event_that_cannot_be_posted_is_dropped(
    kube: FakeKube, recorder: Recorder, run: Body
) -> None:
    """A failing API server costs an Event and nothing else."""
    kube.answers["create"] = ApiUnavailableError("away")
    recorder.record(run, "Warning", "A", "text")
    asyncio.run(recorder.post_next())


def test_too_many_events_are_dropped(recorder: Recorder, run: Body) -> None:
    """When too many wait, further ones are dropped instead of filling the memory."""
    told = [recorder.record(run, "Normal", f"A{n}", "text") for n in range(events.WAITING + 5)]
    assert told.count(False) == 5


def test_what_is_told_at_once_for_one_reason_is_one_event(
    kube: FakeKube, recorder: Recorder, run: Body
) -> None:
    """The stages of one Job are done together and take one write; what comes later, another."""
    recorder.record(run, "Normal", "StageDone", "judge-1")
    recorder.record(run, "Normal", "StageDone", "build-pairs-1")
    asyncio.run(recorder.post_next())
    recorder.record(run, "Normal", "StageDone", "train-dpo-1")
    asyncio.run(recorder.post_next())
    messages = [call[1][2]["message"] for call in kube.calls]
    assert messages == ["judge-1; build-pairs-1", "train-dpo-1"]


def test_a_long_message_is_cut(kube: FakeKube, recorder: Recorder, run: Body) -> None:
    """A message is cut to what the API server accepts."""
    recorder.record(run, "Normal", "A", "x" * 5000)
    asyncio.run(recorder.post_next())
    assert len(kube.calls[0][1][2]["message"]) == events.MAX_MESSAGE
