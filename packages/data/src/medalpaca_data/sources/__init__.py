"""Sources: each module reads one corpus or layout from its raw files and yields rows.

A new source is a new module with a subclass of `BaseSource` that has a `kind`, one import line here,
and one line of `Source`.
"""

from typing import TypeAlias

from .alpaca import Alpaca as Alpaca
from .anki import Anki as Anki
from .base import BaseSource as BaseSource
from .base import Refused as Refused
from .chat import Chat as Chat
from .chatdoctor import ChatDoctor as ChatDoctor
from .cord19 import CORD19 as CORD19
from .mediqa import MEDIQA as MEDIQA
from .medmcqa import MedMCQA as MedMCQA
from .medqa import MedQA as MedQA
from .medquad import MedQuAD as MedQuAD
from .mmlu import MMLU as MMLU
from .patient_dialogues import PatientDialogues as PatientDialogues
from .pocket import Pocket as Pocket
from .published import Published as Published
from .pubmed_causal import PubMedCausal as PubMedCausal
from .pubmed_health_advice import PubMedHealthAdvice as PubMedHealthAdvice
from .pubmedqa import PubMedQA as PubMedQA
from .stack_exchange import StackExchange as StackExchange
from .wikidoc import WikiDoc as WikiDoc
from .wikidoc import WikiDocPatientInfo as WikiDocPatientInfo

# The type of one source in a recipe. A test compares it with the classes in the modules.
Source: TypeAlias = (
    Alpaca
    | Anki
    | Chat
    | ChatDoctor
    | CORD19
    | MEDIQA
    | MedMCQA
    | MedQA
    | MedQuAD
    | MMLU
    | PatientDialogues
    | Pocket
    | Published
    | PubMedCausal
    | PubMedHealthAdvice
    | PubMedQA
    | Refused
    | StackExchange
    | WikiDoc
    | WikiDocPatientInfo
)
