"""The shell blocks of the README and the guides, pasted into bash and zsh: each runs and prints what its page shows."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from devhost.stack import ROOT, LocalStack
from tests.e2e.stacks import environment
from tests.e2e.storm import LONG

# The pages in the order in which they are read: a later one uses the blob that the README uploads.
PAGES = ("README.md", "docs/api.md", "docs/jobs.md", "docs/guarantees.md")
# What is pasted into each shell. Both check the syntax of every block; the guides of zsh run in `make soak` only.
PASTED = {"bash": PAGES, "zsh": PAGES if LONG else PAGES[:1]}
# Interactive shells without configuration files. Interactive zsh does not recognize comments, and expands `!` and `?`.
PROMPTS = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ ", re.MULTILINE)
HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
COMMENT = re.compile(r"(?:^|\s)#", re.MULTILINE)
# Commands that need Azure or tools outside the project, and make, whose targets other tests run.
NOT_RUN_HERE = re.compile(r"^(?:azd|az|azcopy|make)\b", re.MULTILINE)
# An interactive shell reports these errors and continues.
SHELL_ERROR = re.compile(r"command not found|no matches found|event not found|parse error|syntax error|bad pattern")
DEFAULTS = {"127.0.0.1:10000": "blob_port", "127.0.0.1:7071": "host_port"}
# Ids, ETags and times differ from run to run.
VARIES = re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{24}\b|(?<=-)[0-9a-f]{24}\b|0x[0-9A-F]+|\d{4}-\d\d-\d\dT[\d:.]+Z")
MARK = "== block"


@dataclass(frozen=True, slots=True)
class Block:
    """A shell block, and the JSON answer that its page shows below it."""

    page: str
    text: str
    shown: str | None


def blocks(page: str) -> list[Block]:
    """The shell blocks of a page, in order. An answer belongs to the preceding shell block under the same heading."""
    text = (ROOT / page).read_text()
    fences = list(FENCE.finditer(text))
    return [
        Block(page, fence[2], after[2] if after and after[1] == "json" and not HEADING.search(between) else None)
        for fence, after in zip_longest(fences, fences[1:])
        if fence[1] == "sh"
        for between in [text[fence.end() : after.start() if after else None]]
    ]


def every_block(pages: tuple[str, ...] = PAGES) -> list[Block]:
    return [block for page in pages for block in blocks(page)]


def local_blocks(shell: str) -> list[Block]:
    """The blocks that run on this machine, in this shell."""
    return [block for block in every_block(PASTED[shell]) if not NOT_RUN_HERE.search(block.text)]


def has_comment(text: str) -> bool:
    """Return whether a command line has a comment. Python programs in heredocs do not count."""
    return COMMENT.search(QUOTED.sub("''", HEREDOC.sub("", text))) is not None


@pytest.fixture(params=PROMPTS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each of the two shells. A missing shell skips the test, or fails it in CI."""
    name = str(request.param)
    if shutil.which(name) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"{name} is not installed; a Debian package has its name"
        )
    return name


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack as `make run` starts it, with the published key and the default route, but on free ports."""
    env = environment(tmp_path)
    for variable in ("ROUTES", "DEVHOST_KEY"):
        del env[variable]
    with (tmp_path / "stack.log").open("w") as log, LocalStack(env, output=log, create_containers=True) as running:
        yield running


def test_blocks_are_found() -> None:
    assert {block.page for block in every_block()} == set(PAGES)
    assert all(local_blocks(shell) for shell in PASTED)


def test_no_block_has_a_comment() -> None:
    """Interactive zsh reads `#` as a command or an argument."""
    assert [block.text for block in every_block() if has_comment(block.text)] == []


@pytest.mark.parametrize(
    "text", ["# all of it\nmake run\n", "make run  # until Ctrl-C\n", "echo 'a' # b\n", "x <<'E'\nE\n#\n"]
)
def test_a_comment_is_found(text: str) -> None:
    assert has_comment(text)


@pytest.mark.parametrize("text", ["x <<'E'\n# Python\nE\n", "echo '#1 #2' \"a # b\" a#b\n", "echo ${#x}\n"])
def test_a_hash_inside_a_word_or_a_string_does_not_count(text: str) -> None:
    assert not has_comment(text)


def test_every_block_is_well_formed(shell: str) -> None:
    """Including the blocks for Azure."""
    for block in every_block():
        done = subprocess.run([shell, "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block.text


def paste(shell: str, stack: LocalStack) -> list[str]:
    """Paste all local blocks into one shell. Return the output of each."""
    marks = [
        f"{block.text}printf '\\n%s %s %s\\n' '{MARK}' {number} $?\n"
        for number, block in enumerate(local_blocks(shell))
    ]
    script = "".join(marks)
    ports = {default: f"127.0.0.1:{getattr(stack, port)}" for default, port in DEFAULTS.items()}
    for default, port in ports.items():
        script = script.replace(default, port)
    done = subprocess.run(PROMPTS[shell], cwd=ROOT, input=script, capture_output=True, text=True, check=False)
    assert not SHELL_ERROR.search(done.stderr), done.stderr
    output = done.stdout
    for default, port in ports.items():
        output = output.replace(port, default)
    parts = re.split(rf"^{MARK} \d+ (\d+)\n", output, flags=re.MULTILINE)
    assert parts[1::2] == ["0"] * len(marks), done.stdout + done.stderr
    return parts[0:-1:2]


def json_values(output: str) -> list[Any]:
    """The JSON values in the output of a block."""
    found, decoder, position = [], json.JSONDecoder(), 0
    while (position := output.find("{", position)) >= 0:
        value, position = decoder.raw_decode(output, position)
        found.append(value)
    return found


def without_varying_parts(value: Any) -> Any:
    """A value without ids, ETags and times."""
    return json.loads(VARIES.sub("...", json.dumps(value)))


@pytest.mark.timeout(600)
def test_every_block_that_runs_here_prints_what_its_page_shows(shell: str, stack: LocalStack) -> None:
    """The number of pages depends on the speed of the machine, as do the counts of a cancelled job."""
    cancelled = False
    for block, output in zip(local_blocks(shell), paste(shell, stack), strict=True):
        cancelled = cancelled or "sharing cancel" in block.text
        if block.shown is None:
            continue
        shown, seen = json.loads(block.shown), json_values(output)
        expected, found = without_varying_parts(shown), without_varying_parts(seen[-1])
        for each in (expected, found) if "counts" in shown else ():
            each["pages"] = None
            each["counts"] = dict.fromkeys(each["counts"]) if cancelled else each["counts"]
        assert found == expected, block.text
