import hashlib
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodidact_contract.artifacts import (
    MANIFEST,
    PART_ITEMS,
    File,
    Manifest,
    Mean,
    artifact_digest,
    check_file_name,
    encode,
    fold,
    part_name,
    prefix,
    run_prefix,
    shard_parts,
    shard_prefix,
    stage_key,
)

KEY = "0" * 32


def file(name: str, content: str = "") -> File:
    """Returns a file of an artifact."""
    sha256 = hashlib.sha256((content or name).encode()).hexdigest()
    return File(path=name, size=1, sha256=sha256, location=f"tests/artifacts/judge-{KEY}/{name}")


def manifest(shard: int, shards: int, *files: File, **fields: Any) -> Manifest:
    """Returns what a shard published."""
    return Manifest(
        kind="judge",
        key=KEY,
        shard=shard,
        shards=shards,
        files=files,
        inputs={},
        config={},
        **fields,
    )


def test_stage_key_is_the_sha256_of_what_it_covers() -> None:
    """A key is 32 digits of the sha256 over protocol, config, inputs and salt, spelled out here."""
    text = '{"config":{"stage":"judge","votes":3},"inputs":{"model":"ab"},"protocol":1,"salt":"s"}'
    wanted = hashlib.sha256(text.encode()).hexdigest()[:32]
    assert stage_key({"votes": 3, "stage": "judge"}, {"model": "ab"}, "s") == wanted


def test_stage_key_moves_with_everything_it_covers() -> None:
    """Another config, input or salt has another key."""
    keys = {
        stage_key({"a": 1}, {"x": "1"}),
        stage_key({"a": 2}, {"x": "1"}),
        stage_key({"a": 1}, {"x": "2"}),
        stage_key({"a": 1}, {"y": "1"}),
        stage_key({"a": 1}, {"x": "1"}, "salt"),
    }
    assert len(keys) == 5


def test_artifact_digest_is_over_names_and_contents() -> None:
    """The digest is the sha256 of the files' names and sha256, in any order, and of nothing else."""
    one, two = file("a.jsonl", "one"), file("b.jsonl", "two")
    text = f'{{"a.jsonl":"{one.sha256}","b.jsonl":"{two.sha256}"}}'
    wanted = hashlib.sha256(text.encode()).hexdigest()
    assert artifact_digest([one, two]) == artifact_digest([two, one]) == wanted
    moved = one.model_copy(update={"location": "s3://elsewhere/a", "size": 9})
    assert artifact_digest([moved, two]) == wanted


@given(st.integers(0, 5000), st.integers(1, 70))
def test_shards_own_each_part_once(items: int, shards: int) -> None:
    """Over all shards the part numbers are complete, in order, and nobody's twice."""
    owned = [part for shard in range(shards) for part in shard_parts(items, shard, shards)]
    assert owned == list(range(math.ceil(items / PART_ITEMS)))
    sizes = [len(shard_parts(items, shard, shards)) for shard in range(shards)]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 2000), st.integers(1, 9))
def test_digest_does_not_depend_on_shards(items: int, shards: int) -> None:
    """However many shards share the work, the artifact has one digest."""

    def made(count: int) -> str:
        parts = (
            [file(part_name("judged", part)) for part in shard_parts(items, shard, count)]
            for shard in range(count)
        )
        return fold([manifest(i, count, *files) for i, files in enumerate(parts)]).digest

    assert made(shards) == made(1)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "a", "part-00001.jsonl", "A_1.b-c", "x" * 128]
)
def test_usual_file_names_are_fine(name: str) -> None:
    """Names as Hugging Face and our stages give them are taken as they are."""
    assert check_file_name(name) == name


REFUSED = (
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/a",
    ".hidden",
    "-flag",
    "a b",
    "a\n",
    "ä",
    "a\x00",
    "x" * 129,
    MANIFEST,
)


@pytest.mark.parametrize("name", REFUSED)
def test_unusual_file_names_are_refused(name: str) -> None:
    """A name with folders, odd characters or too many of them, or the manifest's, is refused."""
    with pytest.raises(ValueError, match="not a file name"):
        check_file_name(name)


NUMBERS = st.tuples(st.integers(-1000, 1000), st.integers(0, 100))


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_means_add_up_exactly(parts: list[tuple[int, int]]) -> None:
    """The mean over all shards is that of all terms, not the mean of the shards' means."""
    manifests = [
        manifest(i, len(parts), metrics={"score": Mean(total=total, weight=weight)})
        for i, (total, weight) in enumerate(parts)
    ]
    total, weight = (sum(column) for column in zip(*parts, strict=True))
    wanted = float(Fraction(total, weight)) if weight else None
    assert fold(manifests).metrics == {"score": wanted}


def test_counts_add_up_and_absent_ones_are_zero() -> None:
    """Counts are summed over the shards that have them."""
    folded = fold(
        [manifest(0, 2, counts={"pairs": 2, "ties": 1}), manifest(1, 2, counts={"pairs": 3})]
    )
    assert folded.counts == {"pairs": 5, "ties": 1}
    assert folded.shards == 2


def test_entropy_of_scores_is_that_of_all_shards() -> None:
    """Two shards that each say one score, four times: together ln 2, which no mean of them is."""
    shards = [
        manifest(0, 2).model_copy(update={"counts": {"votes-1": 4, "score-1": 4}}),
        manifest(1, 2).model_copy(update={"counts": {"votes-4.5": 4, "score-4": 4}}),
    ]
    assert fold(shards).metrics == {"scoreEntropy": pytest.approx(math.log(2))}
    assert fold(shards[:1]).metrics == {"scoreEntropy": 0.0}
    six = manifest(0, 1).model_copy(update={"counts": {f"votes-{n}": 7 for n in range(6)}})
    assert fold([six]).metrics == {"scoreEntropy": pytest.approx(1.7918, abs=1e-4)}
    assert fold([manifest(0, 1)]).metrics == {}


def test_folder_is_told_only_where_there_is_one() -> None:
    """Files of several places have no folder in common."""
    one = file("a")
    other = file("b").model_copy(update={"location": "s3://inputs/base/b"})
    assert fold([manifest(0, 1, one)]).folder == f"tests/artifacts/judge-{KEY}"
    assert fold([manifest(0, 1, one, other)]).folder == ""


def test_places_are_in_the_namespace() -> None:
    """Everything of a namespace lies below its name."""
    assert prefix("ns", "judge", KEY) == f"ns/artifacts/judge-{KEY}/"
    assert shard_prefix("ns", "judge", KEY, 1, 4) == f"ns/artifacts/judge-{KEY}/1-of-4/"
    assert run_prefix("ns", "uid") == "ns/runs/uid/"


def test_manifest_survives_its_encoding() -> None:
    """A manifest that was stored and read again is the same."""
    sent = manifest(0, 1, file("a"), metrics={"m": Mean(total=1.5)}, seconds={"load": 0.25})
    assert Manifest.model_validate_json(encode(sent)) == sent
