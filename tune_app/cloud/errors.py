"""The errors of the cloud. Each says whether something may have been rented."""

from __future__ import annotations

from pathlib import Path


class CloudError(OSError):
    """The cloud, or the way to it, refused or failed.

    Attributes:
        contract: an instance that was created despite the error, and has to be destroyed.
        may_have_happened: whether the request may have been carried out despite the error.
    """

    may_have_happened = False

    def __init__(self, message: str, *, contract: int | None = None) -> None:
        super().__init__(message)
        self.contract = contract


class WrongKeyError(CloudError):
    """The API does not know the key."""


class MissingScopeError(WrongKeyError):
    """The API knows the key, but it may not do this."""


class NoSuchOfferError(CloudError):
    """The offer was rented by someone else, or withdrawn, since it was listed."""


class NoSuchInstanceError(CloudError):
    """The instance does not exist (any more)."""


class SpendRateError(CloudError):
    """The account may not spend so much an hour."""


class CreditError(CloudError):
    """The account has no credit left."""


class PriceError(CloudError):
    """The bid is refused, most often because it is too low."""


class SearchQuotaError(CloudError):
    """The day's searches are used up; they return at midnight UTC."""


class RateLimitedError(CloudError):
    """Too many calls; nothing was done."""


class RefusedError(CloudError):
    """The API refused for a reason without a class of its own.

    Some of these come with HTTP 200, so instances that they may have created are looked for.
    """

    may_have_happened = True


class UnreachableError(CloudError):
    """No connection was made; nothing was done."""


class NoAnswerError(CloudError):
    """Sent, but the answer is missing or is the server's failure: it may have been done."""

    may_have_happened = True


class OddAnswerError(CloudError):
    """An answer that makes no sense. It never means that nothing exists."""

    may_have_happened = True


class LedgerUnwritableError(CloudError):
    """The ledger cannot record the next step: nothing new is rented."""

    @classmethod
    def of(cls, folder: Path, error: Exception) -> LedgerUnwritableError:
        return cls(
            f"the ledger in {folder} cannot be written ({error}); free space on the head's disk, "
            "which the store of checkpoints shares: see df -h there"
        )


class LaunchError(OSError):
    """This request rented nothing, for a reason on this side."""


class InFlightError(LaunchError):
    """The same request is being carried out, or its outcome is still being looked for."""


class BackOffError(LaunchError):
    """Launches failed before; the next one has to wait."""


class BudgetError(LaunchError):
    """The cap would be exceeded."""


class NoOfferError(LaunchError):
    """No offer meets the caps."""


class FullError(LaunchError):
    """The limit of instances is reached."""


class ClosedError(LaunchError):
    """The cluster is being taken down."""


class UncertainError(LaunchError):
    """Sent, without an answer, and not listed yet: the daemon keeps looking for it."""


class UnknownInstanceError(ValueError):
    """An instance that does not belong to this cluster."""
