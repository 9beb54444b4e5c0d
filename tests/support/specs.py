"""Specs of both kinds in which every option is on at least once."""

from typing import Any

import yaml

from autodidact_contract.api.selfreward import SelfRewardSpec
from support.builders import EXAMPLES, reft, spec

TOY = SelfRewardSpec.model_validate(
    yaml.safe_load((EXAMPLES / "selfreward-toy.yaml").read_text())["spec"]
)

RANKED: dict[str, Any] = {
    "data": {"ranked": {"uri": "s3://inputs/trees"}, "instructions": None, "heldOut": None}
}


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "first": {},
    "current": {"judge": "current"},
    "fixed": {"judge": "fixed", "judgeModel": {"uri": "s3://inputs/judge"}},
    "endpoint": {
        "judge": "endpoint",
        "endpoint": {"url": "https://judge.test/v1", "model": "m", "secretName": "key"},
    },
}


OPTIONS = {
    "everything": spec(
        **RANKED,
        shards=2,
        pairs={"rho": [0, 0.3], "anchoredLoser": True},
        metaJudge={"rounds": 1},
        dpo={"consistency": True, "nllCoefficient": 0.5, "checkpoints": {"everySteps": 50}},
        evaluation={"against": ["previous", "first", "baseline"]},
        lora={"rank": 8},
        gates={
            "minScoreEntropy": {"limit": 0.1},
            "maxLengthRatio": {"limit": 2},
            "minGain": {"limit": 0.1},
        },
    ),
    "ranked": spec(**RANKED),
    "baseline": spec(evaluation={"against": ["baseline"]}),
    "endpoint": spec(evaluation=CHECKPOINTS["endpoint"]),
    "implicit": spec(reward="implicit", pairs={"anchoredLoser": True}, dpo={"consistency": True}),
    "verifier": spec(reward="verifier", data={"questions": {"uri": "s3://inputs/q.jsonl"}}),
    "positive": spec(learning="positive", **RANKED),
    "fork": spec(
        **{"from": {"run": "llama", "iteration": 1}},
        **RANKED,
        evaluation={"against": ["previous", "baseline"]},
    ),
    **{
        f"checkpoints-{judge}": spec(
            dpo={"checkpoints": wanted}, data={"validation": {"uri": "s3://inputs/v.jsonl"}}
        )
        for judge, wanted in CHECKPOINTS.items()
    },
    "checkpoints-oracle": spec(
        dpo={"checkpoints": {"judge": "oracle"}},
        data={"validation": {"uri": "toy://selfreward/validation"}},
    ),
}
"""What is off by default, each at least once."""


BASELINES = ["sft", "offline-self-training", "online-self-training"]


EVERYTHING = reft(baselines=BASELINES, reasoning="program", shards=4, lora={"rank": 8})


SPECS = {
    "minimal": spec(),
    "toy": TOY,
    "many": spec(iterations=7, shards=3),
    "writer": spec(prompts={"model": {"uri": "hf://org/chat@0123456"}}),
    "self": spec(prompts={"generator": "self"}, gates={"minJudgeAccuracy": {"limit": 0.5}}),
}


REFTS = {
    "reft": reft(),
    "reft-everything": EVERYTHING,
    "reft-grpo": reft(algorithm="grpo", reranker={"enabled": False}, baselines=["sft"]),
    "reft-secret": reft(data={"test": {"uri": "s3://theirs/test.jsonl", "secretName": "keys"}}),
}


ALL = {**SPECS, **OPTIONS, **REFTS}
