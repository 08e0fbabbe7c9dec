"""The URLs that the Durable Task extension hands out: the client binding's JSON and the answer to a start."""

import json
from urllib.parse import quote

WEBHOOK = "/runtime/webhooks/durabletask"
RPC = "/durabletask"


class Urls:
    """All of them carry the system key: never hand them on to a client of the app."""

    def __init__(self, hub: str, key: str) -> None:
        self.hub, self._key = hub, key

    def binding(self, port: int, rpc_port: int) -> str:
        """What a durable client parameter receives. The RPC address needs its trailing slash in SDK 1.x."""
        base = f"http://localhost:{port}{WEBHOOK}"
        start = f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]"
        wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
        urls = {
            "taskHubName": self.hub,
            "connectionName": None,
            "creationUrls": {
                "createNewInstancePostUri": f"{start}?code={self._key}",
                "createAndWaitOnNewInstancePostUri": f"{start}?{wait}&code={self._key}",
            },
            "managementUrls": {"id": "INSTANCEID", **self._management(base, "INSTANCEID", rewind=True)},
            "baseUrl": base,
            "requiredQueryStringParameters": f"code={self._key}",
            "rpcBaseUrl": f"http://127.0.0.1:{rpc_port}{RPC}/",
            "httpBaseUrl": base,
            "maxGrpcMessageSizeInBytes": None,
            "grpcHttpClientTimeout": None,
        }
        return json.dumps(urls)

    def started(self, origin: str, instance: str) -> dict[str, str]:
        """The answer to a start; `origin` is what the client called. On the RPC port these lead to 404, as measured."""
        return {"id": instance, **self._management(origin + WEBHOOK, quote(instance, safe="!$&'()*+,;=:-._~"))}

    def _management(self, base: str, instance: str, *, rewind: bool = False) -> dict[str, str]:
        url, tail = f"{base}/instances/{instance}", f"taskHub={self.hub}&connection=Storage&code={self._key}"
        rewound = {"rewindPostUri": f"{url}/rewind?reason={{text}}&{tail}"} if rewind else {}
        return {
            "statusQueryGetUri": f"{url}?{tail}",
            "sendEventPostUri": f"{url}/raiseEvent/{{eventName}}?{tail}",
            "terminatePostUri": f"{url}/terminate?reason={{text}}&{tail}",
            **rewound,
            "purgeHistoryDeleteUri": f"{url}?{tail}",
            "restartPostUri": f"{url}/restart?{tail}",
            "suspendPostUri": f"{url}/suspend?reason={{text}}&{tail}",
            "resumePostUri": f"{url}/resume?reason={{text}}&{tail}",
        }
