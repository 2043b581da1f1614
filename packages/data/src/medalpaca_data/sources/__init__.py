"""Sources: each module reads one corpus from its raw files and yields rows.

A new source is a new module with a subclass of `BaseSource`, and one import line here.
"""

from typing import TYPE_CHECKING, TypeAlias, Union

from .alpaca import Alpaca
from .anki import Anki
from .base import BaseSource, Refused
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

# The type of one source in a recipe: any imported class with a `kind`. Type checkers see the base class.
if TYPE_CHECKING:
    Source: TypeAlias = BaseSource
else:
    Source = Union[  # noqa: UP007 - the members are computed
        tuple(
            value
            for value in globals().copy().values()
            if isinstance(value, type) and issubclass(value, BaseSource) and "kind" in value.model_fields
        )
    ]
