"""The tables of roles and deployment parameters, read from `infra/`."""

import re

from devhost.reference.tables import code, table
from devhost.stack import ROOT

INFRA = ROOT / "infra"
ROLE = re.compile(r"^var (\w+) = '[0-9a-f-]{36}' // (.+)$", re.MULTILINE)
ROW = re.compile(r"(?:map\( ?([\w.]+|union\(\w+, \w+\)), \w+ => )?row\((\w+), (\w+), (\w+), '([^']*)' ?\)")
PRINCIPALS = {
    "app": "the app",
    "topic": "each source account's Event Grid topic",
    "me": "the principal who deploys, with `TESTER_ACCESS`",
}
SCOPES = {
    "plain.from": "each source container",
    "plain.to": "each target container",
    "plain.tagged": "each source and target container, with `CARRY_TAGS`, in place of the roles above",
    "recipients.queues": "each queue of a `notify`, unless it is in another tenant",
    "recipients.topics": "each Event Grid topic of a `notify`, unless it is in another tenant",
    "signers": "each source account",
    "stateScope": "the state account",
    "eventsScope": "the events account",
    "insights": "Application Insights",
    "hubs": "the task hub of the scheduler, with `DURABLE_BACKEND` `scheduler`",
    "union(sources, targets)": "each source and target container",
    "deadLetterScope": "the container `dead-letters`",
}
# param <name> = ... readEnvironmentVariable('<variable>', '<default>') ...
PARAMETER_VALUE = re.compile(
    r"^param (\w+) = [^\n]*?readEnvironmentVariable\(\s*'(\w+)'(?:,\s*'([^']*)')?", re.MULTILINE
)
PARAMETER = re.compile(r"^@description\('((?:[^'\\]|\\.)*)'\)\n(?:@.*\n)*param (\w+) ", re.MULTILINE)
# Descriptions refer to the page that contains the table.
PAGE_LINK = re.compile(r" See docs/\w+\.md\.")
# The parameters of each page; all others are on the page `azure`.
PAGES = {
    "network": ("vnetEnabled", "privateEndpoints", "clientIp"),
    "scale": ("durableBackend", "schedulerSku", "instanceMemory", "maximumInstances", "alwaysReady"),
}
# Values that azd itself provides.
FROM_AZD = {"AZURE_ENV_NAME": "azd asks", "AZURE_LOCATION": "azd asks", "AZURE_PRINCIPAL_ID": "the signed-in user"}


def roles() -> str:
    """Return the table of the roles that a deployment assigns."""
    text = (INFRA / "roles.bicep").read_text()
    names = dict(ROLE.findall(text))
    rules = " ".join(text[text.index("var table = ") : text.index("module assignments")].split())
    found = ROW.findall(rules)
    if len(found) != rules.count("row("):
        raise ValueError("infra/roles.bicep has a row that cannot be parsed")
    rows = []
    for over, who, role, at, reason in found:
        scope = over if at == "at" else at
        for_each = {"hubs": "hubs", "testers": "deadLetterScope"}.get(over, scope)
        rows.append((PRINCIPALS["me" if who == "me" else who], names[role], SCOPES[for_each], reason))
    return table(("who", "role", "on", "for"), rows)


def parameters(page: str) -> str:
    """Return the table of the deployment parameters of one page: `azure`, `network` or `scale`."""
    described = {
        name: PAGE_LINK.sub("", text.replace("\\'", "'"))
        for text, name in PARAMETER.findall((INFRA / "main.bicep").read_text())
    }
    elsewhere = [name for names in PAGES.values() for name in names]
    rows = [
        (code(name), code(variable), FROM_AZD.get(variable) or (code(default) if default else "none"), described[name])
        for name, variable, default in PARAMETER_VALUE.findall((INFRA / "main.bicepparam").read_text())
        if (name in PAGES[page] if page in PAGES else name not in elsewhere)
    ]
    return table(("parameter", "environment variable", "default", "meaning"), rows)
