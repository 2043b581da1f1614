"""Raw sources of the Meadow: one file each, from raw file to rows."""

from .alpaca import Alpaca
from .medqa import MedQA
from .pocket import Pocket
from .pubmed_causal import PubMedCausal

__all__ = ["Alpaca", "MedQA", "Pocket", "PubMedCausal", "Source"]

Source = Alpaca | PubMedCausal | MedQA | Pocket
