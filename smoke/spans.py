"""The spans that the host sends of an orchestration: do they arrive in Application Insights?"""

import re
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from smoke.arm import Arm, json_of, refusal
from smoke.findings import Finding, Result
from smoke.trouble import Trouble

API_VERSION = "2020-08-01"
PATIENCE, PAUSE = 300, 20
# The extension's telemetry before 3.15.0 knows no identity, and the log takes nothing else.
MISSING = "none arrived; before 3.15.0 the Durable extension drops all spans where only identities may send"


def find(arm: Arm, workspace: str, transfers: Sequence[str], say: Callable[[str], None]) -> Finding:
    """Whether a span of one of these transfers is in the log; it takes minutes to get there.

    Nothing that a route needs depends on it: a failure to look is told, and is no failure of the app.
    """
    say(f"\n6. Look for the canaries' spans in Application Insights, for at most {PATIENCE // 60} minutes")
    end = time.monotonic() + PATIENCE
    try:
        while not (found := count(arm, workspace, transfers)) and time.monotonic() + PAUSE < end:
            time.sleep(PAUSE)
    except Trouble as trouble:
        seen, result = str(trouble), Result.UNSEEN
    else:
        seen, result = (f"{found} spans of the canaries", Result.OK) if found else (MISSING, Result.UNSEEN)
    say(f"   {seen}")
    return Finding("spans", "", result, seen, works=True)


def count(arm: Arm, workspace: str, transfers: Sequence[str]) -> int:
    """How many spans of these transfers there are.

    Raises:
        Trouble: the log was not shown.
    """
    what = "the spans could not be queried"
    response = arm.post(f"{workspace}/api/query", API_VERSION, what, {"query": query(transfers)})
    if response.status_code != HTTPStatus.OK:
        raise Trouble(f"{what}: {refusal(response)}. Fix: get the role Log Analytics Reader on the workspace")
    return number(json_of(response))


def query(transfers: Sequence[str]) -> str:
    """Asks for spans by the id of their instance, which is that of the transfer."""
    ids = ", ".join(f'"{each}"' for each in transfers if re.fullmatch(r"[\w-]+", each))
    return (
        "union isfuzzy=true AppRequests, AppDependencies | where TimeGenerated > ago(6h) "
        f'| where tostring(Properties["durabletask.task.instance_id"]) in ({ids}) | summarize spans = count()'
    )


def number(answer: dict[str, Any]) -> int:
    """The one cell of the one table, whose keys have had a capital in some versions; 0 where there is none."""
    try:
        [table] = answer.get("tables") or answer["Tables"]
        [[cell]] = table.get("rows") or table["Rows"]
        return int(cell)
    except (KeyError, TypeError, ValueError, AttributeError):
        return 0
