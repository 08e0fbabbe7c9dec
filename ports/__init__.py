"""What the app needs of Azure, as Protocols. Their docstrings are contracts that `tests/contract` checks.

Every method may be called again after a crash. A service's answer arrives as one of the errors of `rules.errors`: reads raise
`Retryable` or `Permanent`; writes also raise `LookAgain` when their effect is unknown. No error holds a URL, a key or a SAS.
"""
