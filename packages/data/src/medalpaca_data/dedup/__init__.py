"""Near duplicates among texts: MinHash, bands and verified pairs."""

from .near import NearDuplicates, near_duplicates

__all__ = ["NearDuplicates", "near_duplicates"]
