"""Checks chat templates: each is rendered once in a process where it can do no harm.

A template is a program. transformers keeps it in jinja's sandbox, which stops it from reaching
Python's inside but not from running for ever or filling the memory. So each is tried at import in
a process of its own that has little time, little memory and an empty environment, with a prompt as
the stages render it: one user turn, and the beginning of the assistant's. Left out: a template that
waits for certain words of a prompt; the stage that meets them ends at its own limits.

``python -m autodidact_worker.intake.chat_templates`` is the child.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autodidact_worker.intake import model_configs
from autodidact_worker.runtime.errors import UserError

FILE = "chat_template.jinja"
_HOLDERS = ("chat_template.json", "tokenizer_config.json")

_SECONDS = 2
"""Of processor time, on top of the interpreter's start; a template takes milliseconds."""
_MEMORY_BYTES = 512 << 20
_MAX_TEMPLATE = 1 << 18
"""Characters; the longest published ones have some 20,000."""
_MAX_RENDERED = 1 << 20
_PROMPT = "How many words has this question? " * 240
"""Some 8000 characters: what is slow in the length of a prompt shows."""
_TOKENS = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")


def check(folder: Path) -> None:
    """Returns if the templates of a model, as far as stages use them, render a prompt.

    Of a list of templates that is the one named ``default``.

    Args:
        folder: With at least its JSON files, already checked by ``model_files``, and its template.

    Raises:
        UserError: ``UnsafeModel``, naming the file and what its template does.
    """
    for name, template in _templates(folder):
        problem = "is too long" if len(template) > _MAX_TEMPLATE else _trial(template)
        if problem:
            raise UserError(
                "UnsafeModel",
                f"{name} has a chat template that {problem}; correct the template, or remove it "
                "for prompts without one",
            )


def _templates(folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / FILE
    if path.exists():
        try:
            yield FILE, path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise model_configs.invalid(f"{FILE} is not UTF-8: {error}; save it again") from error
    for name in _HOLDERS:
        if (folder / name).exists():
            value = model_configs.check(folder / name)
            found = value.get("chat_template") if isinstance(value, dict) else None
            if text := _default(found):
                yield name, text


def _default(found: Any) -> str | None:
    """Returns the template that stages use, of one, of several by name, or of a list."""
    if isinstance(found, list):
        found = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
    if isinstance(found, dict):
        found = found.get("default")
    return found if isinstance(found, str) else None


def _trial(template: str) -> str:
    """Returns what is wrong with a template, or nothing."""
    child = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps(template).encode(),
        capture_output=True,
        # Where modules are is all that it may know of this process.
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
        check=False,
    )
    if child.returncode == 0:
        return child.stdout.decode()
    return f"takes more than {_SECONDS} s or breaks its process (status {child.returncode})"


# The child.


def _serve() -> None:
    """Writes what is wrong with the template on standard input."""
    from jinja2.exceptions import SecurityError  # noqa: PLC0415 - never in the worker's own process

    template = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + _SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        rendered = _render(template)
        problem = f"makes {len(rendered)} characters of one prompt"
        sys.stdout.write(problem if len(rendered) > _MAX_RENDERED else "")
    except MemoryError:
        sys.stdout.write(f"needs more than {_MEMORY_BYTES >> 20} MiB for one prompt")
    except SecurityError as error:
        sys.stdout.write(f"reaches for Python's inside: {_line(error)}")
    except Exception as error:  # noqa: BLE001 - whatever the template raised
        sys.stdout.write(f"cannot render one prompt: {type(error).__name__}: {_line(error)}")


def _line(error: Exception) -> str:
    return ascii(" ".join(str(error)[:200].split()))


def _render(template: str) -> str:
    """Renders a prompt as transformers 5 does."""
    from datetime import datetime  # noqa: PLC0415 - as in _serve

    from jinja2 import TemplateError, nodes  # noqa: PLC0415
    from jinja2.exceptions import SecurityError  # noqa: PLC0415
    from jinja2.ext import Extension  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Generation(Extension):
        """The block that marks what the assistant says."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005
    tree = environment.parse(template)
    names = [node.attr for node in tree.find_all(nodes.Getattr)]
    for name in (*names, *(str(node.value) for node in tree.find_all(nodes.Const))):
        # The sandbox refuses these too, but only when it comes to them.
        if name.startswith("__") and name.endswith("__"):
            raise SecurityError(name)
    return environment.from_string(template).render(
        messages=[{"role": "user", "content": _PROMPT}],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **{f"{name}_token": f"<{name}>" for name in _TOKENS},
    )


if __name__ == "__main__":
    _serve()
