"""The errors a user of biocache can meet.

Every message holds the value at fault, the place it was found and the next step. Each error also derives
from the builtin that a caller would think of first, so that ``except ValueError`` works as expected.
"""

__all__ = [
    "REMAKE",
    "AmbiguousRunError",
    "BiocacheError",
    "BusyError",
    "DataError",
    "IncompleteRunError",
    "IntegrityError",
    "ModelError",
    "NewerFormatError",
    "ResourceError",
    "RunNotFoundError",
    "SettingError",
    "SpecMismatchError",
    "StoreFormatError",
    "TrainingError",
]

# The next step where what is wrong lies in a run's own metadata.
REMAKE = "remove the run with `biocache rm` and extract it again, or extract it with --overwrite"


class BiocacheError(Exception):
    """Base of all errors that describe a mistake or a state a user can mend."""

    # KeyError would print its message through repr(); every child prints it as it was written.
    def __str__(self) -> str:
        return Exception.__str__(self)


class SettingError(BiocacheError, ValueError):
    """An option or argument has a value that cannot be used."""


class DataError(BiocacheError, ValueError):
    """A corpus file or data set is malformed; the message names the file and the line."""


class ModelError(BiocacheError, ValueError):
    """A model or tokenizer cannot be found, loaded whole, or used for this task."""


class ResourceError(BiocacheError, OSError):
    """Memory or disk is short of what the work needs."""


class StoreFormatError(BiocacheError, ValueError):
    """A folder is not a biocache store, or one of a format version this release cannot read."""


class NewerFormatError(StoreFormatError):
    """A store, run or result was written by a newer release of biocache than this one."""


class RunNotFoundError(BiocacheError, KeyError):
    """No run of the store matches a selection."""


class AmbiguousRunError(BiocacheError, LookupError):
    """More than one run of the store matches a selection that must name one."""


class IncompleteRunError(BiocacheError, LookupError):
    """A run still has packs without a commit record."""


class SpecMismatchError(BiocacheError, ValueError):
    """A run exists under this key and was made from other inputs or with other settings."""


class IntegrityError(BiocacheError, OSError):
    """Stored bytes are missing, damaged, or not what their commit record says."""


class BusyError(BiocacheError, RuntimeError):
    """Another process is writing to the run or making the checkpoint."""


class TrainingError(BiocacheError, ArithmeticError):
    """A training diverged: its loss or a weight is no longer a number."""
