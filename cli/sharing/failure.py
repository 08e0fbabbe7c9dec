"""Why a command failed, and the exit codes."""

DONE, FAILED, USAGE, UNREACHABLE, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 4, 130
# For the help and docs/cli.md.
EXIT_CODES = {
    DONE: "done",
    FAILED: "something failed, is a dead letter or was cancelled; or you said no",
    USAGE: "wrong usage, or the app refused a value",
    UNREACHABLE: "the app cannot be reached, denies access or gives no usable answer",
    NOT_FOUND: "what the command names does not exist",
    INTERRUPTED: "Ctrl-C",
}


class Failure(Exception):
    """The command cannot continue. `retry_after`, in seconds, is set if the same request may succeed later."""

    def __init__(self, message: str, code: int, fix: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.fix = fix
        self.retry_after = retry_after
