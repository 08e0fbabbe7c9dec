"""The shell blocks of the README, pasted into bash and zsh: each does what the README says and shows what it shows."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devhost.stack import ROOT, LocalStack
from tests.e2e.conftest import environment

# As at a prompt: a comment is a command there, `!` and `?` are special, and no file of a person's is read.
PROMPTS = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
COMMENT = re.compile(r"(?:^|\s)#", re.MULTILINE)
# What needs Azure, what is not installed with the project, and make, whose targets other tests run.
ELSEWHERE = re.compile(r"^(?:azd|az|azcopy|make)\b", re.MULTILINE)
# A prompt reports what it did not understand and goes on.
MISUNDERSTOOD = re.compile(r"command not found|no matches found|event not found|parse error|syntax error|bad pattern")
DEFAULTS = {"127.0.0.1:10000": "blob_port", "127.0.0.1:7071": "host_port"}
# Ids, ETags and times differ from run to run.
VARIES = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{24}\b|(?<=-)[0-9a-f]{24}\b|0x[0-9A-F]+|\d{4}-\d\d-\d\dT[\d:.]+Z")
MARK = "== block"


@dataclass(frozen=True, slots=True)
class Block:
    """A shell block, and the answer that is shown below it."""

    text: str
    shown: str | None


def blocks() -> list[Block]:
    """The shell blocks, in order. An answer belongs to the last shell block above it, if no other answer comes between."""
    fences = FENCE.findall((ROOT / "README.md").read_text())
    return [
        Block(text, after[1] if after[0] == "json" else None)
        for (language, text), after in zip(fences, [*fences[1:], ("", "")], strict=True)
        if language == "sh"
    ]


def here() -> list[Block]:
    """Those that run on this machine."""
    return [block for block in blocks() if not ELSEWHERE.search(block.text)]


def commented(text: str) -> bool:
    """Whether there is a comment in a command line; not in a program that is handed to Python."""
    return COMMENT.search(QUOTED.sub("''", HEREDOC.sub("", text))) is not None


@pytest.fixture(params=PROMPTS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each of the two shells. One that is missing is skipped, and failed in CI."""
    name = str(request.param)
    if shutil.which(name) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"{name} is not installed; a Debian package has its name"
        )
    return name


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """What `make run` starts, on free ports, with the published key and the route that is there without ROUTES."""
    env = environment(tmp_path)
    for variable in ("ROUTES", "DEVHOST_KEY"):
        del env[variable]
    with (tmp_path / "stack.log").open("w") as log, LocalStack(env, output=log, furnished=True) as running:
        yield running


def test_blocks_are_found() -> None:
    """Some run here, and some show an answer."""
    assert any(block.shown for block in here())


def test_no_block_has_a_comment() -> None:
    """Zsh takes `#` for a command or an argument at its prompt."""
    assert [block.text for block in blocks() if commented(block.text)] == []


@pytest.mark.parametrize(
    "text", ["# all of it\nmake run\n", "make run  # until Ctrl-C\n", "echo 'a' # b\n", "x <<'E'\nE\n#\n"]
)
def test_a_comment_is_found(text: str) -> None:
    """Above a command and behind it."""
    assert commented(text)


@pytest.mark.parametrize("text", ["x <<'E'\n# Python\nE\n", "echo '#1 #2' \"a # b\" a#b\n", "echo ${#x}\n"])
def test_what_is_no_comment_is_none(text: str) -> None:
    """In quotes, in a program, inside a word."""
    assert not commented(text)


def test_every_block_is_well_formed(shell: str) -> None:
    """Those for Azure, too."""
    for block in blocks():
        done = subprocess.run([shell, "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block.text


def pasted(shell: str, stack: LocalStack) -> list[str]:
    """Paste the blocks into one prompt, one after the other; what each has written."""
    marks = [f"{block.text}printf '\\n%s %s %s\\n' '{MARK}' {number} $?\n" for number, block in enumerate(here())]
    script = "".join(marks)
    for default, port in DEFAULTS.items():
        script = script.replace(default, f"127.0.0.1:{getattr(stack, port)}")
    done = subprocess.run(PROMPTS[shell], cwd=ROOT, input=script, capture_output=True, text=True, check=False)
    assert not MISUNDERSTOOD.search(done.stderr), done.stderr
    said = re.split(rf"^{MARK} \d+ (\d+)\n", done.stdout, flags=re.MULTILINE)
    assert said[1::2] == ["0"] * len(marks), done.stdout + done.stderr
    return said[0:-1:2]


def answers(said: str) -> list[Any]:
    """The JSON values in what a block has written."""
    found, decoder, place = [], json.JSONDecoder(), 0
    while (place := said.find("{", place)) >= 0:
        value, place = decoder.raw_decode(said, place)
        found.append(value)
    return found


def lasting(value: Any) -> Any:
    """A value without what differs from run to run."""
    return json.loads(VARIES.sub("...", json.dumps(value)))


@pytest.mark.timeout(600)
def test_every_block_that_runs_here_shows_what_the_readme_shows(shell: str, stack: LocalStack) -> None:
    """The same states, counts and fields. The speed decides how many pages there are, and how many a cancel lets through."""
    cancelled = False
    for block, said in zip(here(), pasted(shell, stack), strict=True):
        cancelled = cancelled or "-X DELETE $API" in block.text
        if block.shown is None:
            continue
        shown, seen = json.loads(block.shown), answers(said)
        if isinstance(shown, list):
            seen = [[page["items"][0] for page in seen]]
        expected, found = lasting(shown), lasting(seen[-1])
        for each in (expected, found) if isinstance(shown, dict) else ():
            each["pages"] = None
            each["counts"] = dict.fromkeys(each["counts"]) if cancelled else each["counts"]
        assert found == expected, block.text
