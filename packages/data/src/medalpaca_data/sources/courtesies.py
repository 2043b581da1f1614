"""Courtesies of consultation sites: welcome and thanks before an answer, wishes and names behind it.

Only whole sentences at the two ends are taken, and only those that can be nothing else; what stands between is text.
"""

from __future__ import annotations

import re

SITE = r"(?:chat ?doctor|health ?care ?magic|hcm|icliniq|['\u2018\u2019]?ask a doctor['\u2018\u2019]?)"
SENTENCE = re.compile(r"(?:[^.!?\n]|\.com)*(?:[.!?]+['\u2019\"]?|\n|\Z)\s*")
GREETING = re.compile(
    r"(?:hi|hello|hey|dear|respected|greetings|good (?:morning|day|evening))\b[\w ]{0,20}[,.!]?",
    re.IGNORECASE,
)
WELCOME = re.compile(
    r"(?:(?:hi|hello|hey|dear|respected|greetings)\b[\w ]{0,20}[,.!]? ?)?(?:and )?"
    rf"(?:(?:a )?(?:very )?(?:warm )?welcome(?: back)? to (?:the )?{SITE}|"
    r"(?:many )?thank(?:s|[ ]you)(?: so much| very much| a lot)? for (?:using|asking|choosing|consulting|contacting|"
    r"writing to|visiting|trusting|your (?:question|query)))[^.!?\n]{0,80}[.!?]*",
    re.IGNORECASE,
)
WISH = re.compile(
    r"(?:(?:i )?hope (?:i have|this|that|it|my answer)(?: has| will)? ?(?:answered|answers|helps?|solved|clarifies)"
    r"(?: you| your| the)?(?: query| queries| question| questions| concern| doubts?)?|"
    r"(?:please )?(?:let me know|feel free to ask) if (?:i can|you have)\b[\w ]{0,60}|"
    r"i will be happy to (?:help|assist|answer)\b[\w ]{0,40}|"
    r"(?:i )?wish(?:ing)? (?:you )?(?:a )?(?:very )?(?:good|best|speedy)\b[\w ]{0,40}|"
    rf"take care|thank you|thanks(?: for using {SITE})?|{SITE})[\s,.!?]*",
    re.IGNORECASE,
)
OFFER = re.compile(r"\s*would you like to video or text chat with me\?\s*\Z", re.IGNORECASE)
NAME = r"(?:[\s.,&-]|[^\W\d])"
REGARDS = re.compile(
    r"(?:(?<=[.!?\n,])|\A)\s*(?:(?:take care|thanks and|with|warm|best|kind)[\s,.]+){0,3}"
    rf"regards?\b(?!\s+(?:to|the|your|this|that|of)\b){NAME}{{0,90}}\Z"
    rf"|(?-i:Regards)[\s,.]*(?-i:Dr)\b{NAME}{{0,70}}\Z",
    re.IGNORECASE,
)
END = 160  # characters at an answer's end in which a sign-off is looked for


def without_courtesies(text: str) -> str:
    """The answer without them; as it is where nothing else would be left."""
    body = text.strip()
    # Both are looked for near the end only, so that a megabyte of blanks costs nothing.
    if offer := OFFER.search(body, max(len(body) - END, 0)):
        body = body[: offer.start()]
    body = _without_wishes(body)
    if signed := REGARDS.search(body, max(len(body) - END, 0)):
        body = _without_wishes(body[: signed.start()])
    cut = place = 0
    while found := SENTENCE.match(body, place):
        sentence = found[0].strip()
        place = found.end()
        if WELCOME.fullmatch(sentence):
            cut = place
        elif not GREETING.fullmatch(sentence) or place == len(body):
            break
    return body[cut:].strip() or text.strip()


def _without_wishes(text: str) -> str:
    sentences = [found[0] for found in SENTENCE.finditer(text) if found[0]]
    while sentences and (not sentences[-1].strip() or WISH.fullmatch(sentences[-1].strip())):
        sentences.pop()
    return "".join(sentences).rstrip()
