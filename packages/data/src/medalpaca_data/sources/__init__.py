"""Raw sources of the Meadow: one file each, from raw file to rows."""

from .alpaca import Alpaca
from .anki import Anki
from .base import Refused
from .chat import Chat
from .chatdoctor import ChatDoctor
from .cord19 import CORD19
from .mediqa import MEDIQA
from .medmcqa import MedMCQA
from .medqa import MedQA
from .medquad import MedQuAD
from .mmlu import MMLU
from .patient_dialogues import PatientDialogues
from .pocket import Pocket
from .published import Published
from .pubmed_causal import PubMedCausal
from .pubmed_health_advice import PubMedHealthAdvice
from .pubmedqa import PubMedQA
from .stack_exchange import StackExchange
from .wikidoc import WikiDoc, WikiDocPatientInfo

Source = (
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
