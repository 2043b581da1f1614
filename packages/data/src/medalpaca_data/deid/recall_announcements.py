"""What announces a name in the profile `recall`: gaps, labels, verbs of contact, and German roles."""

from __future__ import annotations

import re
from functools import lru_cache

SHORT_GAP = re.compile(r"\.?[ \t]{1,2}|\.?[ \t]?\n[ \t]?|\.")
ROLE_GAP = re.compile(
    r"\.?[ \t]?[:=(\u2013-]?[ \t]{0,12}(?:is |was )?|[ \t]?[:=|][ \t\n]{0,12}|, |['\u2019]s?[ ]"
)
LABEL = re.compile(
    r"(?i)(?:\b(?:name|names|surname|forename|nachname|vorname|geburtsname|n[\u00e9e]e|"
    r"geb\.|patient|pt|pat\.|provider|attending|by|cc|re|betr\.?|attn|signed|signature|"
    r"author|from|to|resident|physician|"
    r"surgeon|assistants?|asst|anes(?:thesia|thesiologist)?|consultant|referring|"
    r"ordering|requesting|pcp|gp|rn|nurse|contact|nok|next of kin|guardian|witness|"
    r"informant|"
    r"interpreter|staff|clinician|technologist|tech|pathologist|radiologist|operator|"
    r"operateur|assistenz|hausarzt|einsender|arzt|\u00e4rztin|verteiler|unterschrift|"
    r"user|secretary|sekretariat|"
    r"caller|recipient|sender|subscriber|insured|holder|mother|father|spouse|husband|"
    r"wife|partner|daughter|son|emergency contact|team|on[ -]call|covering|cover|"
    r"cons|reg|sho|spr|wr|s/b|ward round|fob|doula|volunteer|bereavement|msw|midwife|"
    r"examiner|copy|copies|"
    r"dictator|transcriptionist|/s/|scribe|preparer|owner|poa|proxy|hcp|mutter|vater|"
    r"angeh\u00f6rige|ansprechpartner(?:in)?|bearbeiter|gez\.?|i\. ?a\.|i\. ?v\.)"
    r"(?: \(?(?:name|physician|provider|md|s|to|of record|by)\)?)?[ .\t]*[:=][ \t]*|/s/ *)$"
)
PERSONAL = re.compile(
    r"(?i)(?:\b(?:aware \(|aware: ?|notified: ?|d/w|c/o|s/w|w/|per|told|notified|"
    r"paged|informed|phoned|texted|emailed|discussed (?:with|w/)|spoke (?:with|to|"
    r"w/)|spoken (?:with|to)|signed by|seen by|reviewed by|"
    r"dictated by|witnessed by|accompanied by|visited by|referred by|performed by|"
    r" called by|assisted by|signed out to|handed over to|handoff to|report (?:to|"
    r"from)|rx from|prescribed by|updated|met with|meeting with|"
    r"care of|attn|n\u00e9e|nee|named|call|ask(?:ed)? for|contact(?:ed)?|gez\.|i\. ?v\.|"
    r"i\. ?a\.|rücksprache mit|besprochen mit|laut|hinzuziehung von|termin bei|vorstellung bei|"
    r"mitbehandlung durch|einweisung durch|überweisung durch|überweisung von|konsil|"
    r"telefonat mit|reg|spr|sho|s/b|wr|fob) )$"
)


GERMAN_ROLE = re.compile(
    r".*(?:arzt|ärztin|therapeut(?:in)?|pfleger(?:in)?|pflegekraft|schwester|assistent(?:in)?|assistenz|"
    r"log(?:e|in)|berater(?:in)?|betreuer(?:in)?|leiter(?:in)?|leitung|fahrer(?:in)?|helfer(?:in)?|anwalt|"
    r"anwältin|bewohner(?:in)?|zeug(?:e|in)|versicherter?|lehrer(?:in)?|chirurg(?:in)?|internist(?:in)?|"
    r"sanitäter(?:in)?|hebamme|vertreter(?:in)?|vorsitzender?|gutachter(?:in)?|operateur(?:in)?|sekretariat)"
)


@lru_cache(maxsize=4096)
def is_german_role(lower: str) -> bool:
    """Return whether a German word is a role: "Bezugspflegekraft", "Betriebsarzt"."""
    return GERMAN_ROLE.fullmatch(lower) is not None
