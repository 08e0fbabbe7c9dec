"""Protocols for everything outside the process. Their docstrings are contracts that `tests/contract` checks.

Every method may be called again after a crash. Failures of a service are raised as errors of `rules.errors`: reads
raise `Retryable` or `Permanent`; writes also raise `LookAgain` if their effect is unknown. No error holds a URL, a
key or a SAS.
"""
