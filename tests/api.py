"""The HTTP API as designed: method, route, level of the key. A change needs a change of the docs."""

JOBS = ("replays", "discards", "reconciles")

API = {
    ("GET", "transfers", "FUNCTION"),
    ("GET", "transfers/{id}", "FUNCTION"),
    ("POST", "transfers", "FUNCTION"),
    ("DELETE", "transfers/{id}", "FUNCTION"),
    ("POST", "transfers/{id}/notify", "FUNCTION"),
    ("GET", "dead-letters", "FUNCTION"),
    ("GET", "dead-letters/{id}", "FUNCTION"),
    ("POST", "dead-letters/{id}/replay", "FUNCTION"),
    ("DELETE", "dead-letters/{id}", "FUNCTION"),
    *[("POST", jobs, "FUNCTION") for jobs in JOBS],
    *[("GET", f"{jobs}{rest}", "FUNCTION") for jobs in JOBS for rest in ("", "/{id}", "/{id}/report")],
    *[("DELETE", f"{jobs}/{{id}}", "FUNCTION") for jobs in JOBS],
    *[("GET", figures, "FUNCTION") for figures in ("routes", "summary", "metrics", "ledger")],
    ("GET", "health", "ANONYMOUS"),
    ("GET", "health/deep", "FUNCTION"),
    ("GET", "dashboard", "ANONYMOUS"),
    ("GET", "dashboard/{file}", "ANONYMOUS"),
    ("GET", "openapi.json", "ANONYMOUS"),
}
