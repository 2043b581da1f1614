"""Patterns of statements that name an answer, in English and seven other languages.

A statement is a noun ("the correct answer"), a verb or a colon, and a letter. The patterns of all languages are tried
on every text, because a model may answer in another language than that of the question.
"""

from __future__ import annotations

import re

# Marks that may surround a letter.
OPENING = r"[*_`\"'\[({$\s\u201c\u201e\u00ab\u3010\u300c]*"
CLOSING = r"[*_`\"'\])}$\u201d\u00bb\u3011\u300d]*"
# The neighbour of a letter is not part of the same word. Chinese has no spaces between words.
CJK = r"\u3040-\u30ff\u4e00-\u9fff"
NOT_IN_WORD = rf"(?![^\W{CJK}]|['\u2019-]\w)"
_NOT_AFTER_WORD = rf"(?<![^\W{CJK}])"

# What may follow the letter of an answer: the end of the line or sentence, a delimiter, or a reason. A further word
# may not: "The answer is A viral infection" names no letter.
_REASONS = (
    "because|since|as|due|which|given|for\\s+the|based|weil|da|denn|wegen|car|parce\\s+que|puisque|en\\s+raison|porque|ya\\s+que|"
    "puesto|debido|perch[eé]|poich[eé]|in\\s+quanto|pois|j[aá]\\s+que|devido|потому|так\\s+как|поскольку|ибо"
)
END = (
    rf"(?=\s*(?:$|[,;:!?)(\n<|\u3002\uff0c\u3001]|\.(?!\s*(?-i:[a-z]))|[-\u2013\u2014]\s|=>|\u2192)|\s+(?:{_REASONS}|rather\s+than|instead|over)\b"
    rf"|\s+(?:and|but|und|et|y|e)\s+(?:not|nicht|pas|no|non|n\u00e3o)\b"
    r"|\s+(?:here|overall|in\s+this\s+(?:case|question|scenario|situation)|for\s+this\s+(?:case|question|scenario|item|patient)"
    r"|as\s+(?:my|the)\s+(?:\w+\s+)?(?:answer|choice|option)|(?:aus)?w\u00e4hlen|nehmen|ankreuzen"
    r"|qui\s+(?:convient|correspond|s'impose|est\s+(?:correcte?|exacte?|juste|la\s+bonne|la\s+plus)))\b"
    rf"|\s*[{CJK}]|(?<=[A-Z][)\]])\s)"
)

_NOUNS = {
    "English": r"ans(?:wer)?|choice|option|response|diagnosis|cause|etiology|explanation|solution|conclusion|treatment"
    r"|therapy|management|step|test|drug|agent|mechanism|finding|organism|pathogen|complication|statement|pick"
    r"|selection|prediction|verdict|decision|guess|deficiency|condition|factor|one|letter|correct(?=[*\s]*:)|final(?=[*\s]*:)",
    "German": r"antwort(?:m\u00f6glichkeit|option)?|l\u00f6sung|loesung|auswahl|buchstabe|diagnose|ursache|erreger",
    "French": r"r[eé]ponse|choix|proposition|diagnostic|solution|cause|lettre",
    "Spanish": r"respuesta|opci[oó]n|alternativa|diagn[oó]stico|soluci[oó]n|causa|elecci[oó]n",
    "Italian": r"risposta|opzione|diagnosi|soluzione|scelta|causa|lettera",
    "Portuguese": r"resposta|op[cç][aã]o|alternativa|gabarito|solu[cç][aã]o|letra",
    "Chinese": r"答案|選項|选项|答|诊断|選擇|选择|病因",
    "Russian": r"ответ\w{0,3}|вариант\w{0,3}|диагноз\w{0,3}|причина|решение",
}
# Nouns that are a heading above the letter.
_HEADING_NOUNS = (
    r"answer|response|conclusion|solution|choice|antwort|r[eé]ponse|respuesta|risposta|resposta|ответ|答案|答"
)
_VERBS = (
    r"\s+(?:is|was|would\s+(?:\w+\s+)?be|should\s+be|must\s+be|will\s+be|has\s+to\s+be|seems\s+to\s+be|appears\s+to\s+be|remains)\b"
    r"|\s+(?:ist|lautet|w[aä]re|hei[sß]{1,2}t)\b|\s+(?:est|serait|sera)\b|\s+(?:es|ser[ií]a|ser[aá])\b"
    r"|\s+(?:è|e'|sarebbe|sar[aà]|é|seria)(?!\w)|\s+(?:это|является|будет)\b"
    r"|\s*(?:应该是|应该为|應該是|应该选|应是|應是|应为|應為|应选|應選|是|为|為|选|選)|\s*[:=]|\s+[-\u2013\u2014]{1,2}(?=\s)|[-\u2013\u2014](?=\s|\()"
    r"|(?:(?<=answer)|(?<=antwort)|(?<=ans))[-\u2013\u2014]"
    r"|\s*(?:\u2192|[-=]{1,2}>)"
    r"|(?<=ответ)\s+(?=[(\[*]{0,3}[A-Z]\b)"
)
# Words between the verb and the letter, in any order.
_BETWEEN = (
    r"(?:definitely|clearly|most\s+likely|likely|probably|therefore|thus|indeed|actually|still|the|correct|best|right"
    r"|letter|option|choice|answer|number"
    r"|die|der|das|daher|somit|also|eindeutig|antwort(?:m\u00f6glichkeit)?|buchstabe|richtig"
    r"|la|le|donc|lettre|r[eé]ponse|proposition|el|por\s+lo\s+tanto|letra|opci[oó]n|respuesta|alternativa|literal|inciso"
    r"|quindi|lettera|opzione|risposta|a|o|portanto|op[cç][aã]o|под|буквой|вариант|ответ|буква|正确答案|答案|选项|選項|选择|选|選)"
)
# The noun decides alone in English ("the answer is"), so text between noun and verb is free of delimiters.
STATED = re.compile(
    rf"""
    (?: {_NOT_AFTER_WORD}(?:{"|".join(_NOUNS.values())})(?![^\W{CJK}])\.?{CLOSING}
        (?P<filler>(?:\s+[^\s.,;:!?\n=()]{{1,24}}){{0,6}}?){CLOSING}
        (?P<verb>{_VERBS})[\s:*_]*
      | \bans[.)]\s*(?=[\s(])
      | [\[\u3010](?:正确|正確)?答案[\]\u3011]\s*
      | (?:^|\n)[#*_>\ \t]*(?:[^\W\d_]+\ ){{0,2}}(?:{_HEADING_NOUNS})[*_:\ \t]*\n\s*
      | \b(?:i|we)\s*(?:would\s+|will\s+|'d\s+|'ll\s+|must\s+)?(?:choose|select|pick|go\s+with|answer|opt\s+for|say
        |arrive\s+at|end\s+up\s+with|settle\s+on|conclude(?:\s+with)?|vote\s+for)\b
      | \bi\s*(?:am|'m)\s+going\s+with\b
      | \b(?:therefore|thus|hence|so|consequently|likely|probably|definitely|certainly|surely|clearly|obviously
        |undoubtedly|(?:richtig|korrekt)\s+(?:ist|w\u00e4re)|следовательно|значит|поэтому|итак)\b{CLOSING}[,:]?
      | (?:^|[\n\u2192>\u2705]|=>)\s*(?:\u27a1\ufe0f?|\u2192|->|=>|\u2234|\U0001f449
        |(?:\u2705|\u2714\ufe0f?|\u2611\ufe0f?|\u2713)(?![ \t]*\n))
      | \bes\s+ist\b | (?:^|[\n.:;,])\s*(?:es|[è\u00e9])\b
      | \b(?:it|that|this)(?:'s|\s+is|\s+(?:must|should|has\s+to|would|can\s+only|could\s+only)\s+be)\b
      | \b(?:leav(?:es|ing)(?:\s+(?:us|me))?|(?:am|are|is)\s+left|(?:come|boil|narrow)s?\s+(?:\w+\s+)?down\s+to)
        (?:\s+with)?(?:\s+(?:only|just))?\b
      | (?:^|[\n.]\s*)(?:in\s+(?:conclusion|sum|summary|short|brief|total|the\s+end)|on\s+balance|overall|summary|result
        |to\s+(?:conclude|summari[sz]e|sum\s+up)|all\s+(?:in\s+all|together|(?:things\s+)?considered)
        |(?!ruling|excluding|eliminating|rejecting|leaving)\w+ing\s+(?:it|this|that|them|all|everything|up|together
        |the\s+(?:above|evidence|findings|facts|clues|pieces)))(?:\s+[^\s.:;,]{{1,12}}){{0,3}}\s*:
      | \bmost\s+(?:consistent|compatible)\s+with\b | \bbest\s+(?:explained|described|answered)\s+by\b
      | \bes\s+handelt\s+sich\s+um\b
      | \bam\s+(?!un|wenig)\w+sten\b(?:\s+(?:ist|w\u00e4re|passt|erscheint|scheint)\b)?(?:\s+es\b)?
      | \bich\s+(?:w\u00e4hle|nehme|entscheide\s+mich\s+f\u00fcr|tippe\s+auf|w\u00fcrde)\b
      | \bje\s+(?:choisis|choisirais|s[eé]lectionne|r[eé]ponds|opte\s+pour|retiens|dirais|penche\s+pour)\b
      | \bc'est\b | \bil\s+s'agit\s+de\b
      | \b(?:elijo|elegir[ií]a|escojo|selecciono|escolho|escolheria|seleciono|marco|marcaria|opto\s+p[oe]r|scelgo
        |sceglierei|direi|dir[ií]a(?:\s+que)?(?:\s+(?:es|é))?)\b
      | \b(?:верн|правильн)\w+\s+(?:является|будет) | думаю,?\s+что\s+это
      | (?:(?:я\s+)?выбираю|выбрала?\s+бы|бы\s+выбрала?)
      | (?<!不)(?:故选|故選|应选|選擇|选择|选|選)(?!项|項)\s*:?
    )
    \s*(?:l'|l\u2019)?(?:{_BETWEEN}(?![^\W{CJK}])[\s:*_]*){{0,5}}(?:l'(?:option|opzione)\s*)?:?{OPENING}
    (?-i:(?P<letter>[A-Z])){CLOSING}{NOT_IN_WORD}
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A small letter counts only directly after a label or verb and before the end of the line or sentence.
STATED_SMALL = re.compile(
    rf"""
    {_NOT_AFTER_WORD}(?:{"|".join(_NOUNS.values())})(?![^\W{CJK}]){CLOSING}(?P<verb>\s+(?:is|ist|est|es)\b(?!\s*[*_`"']*[aeoy]\b)|\s*:)
    \s*(?:option\s+)?{OPENING}(?-i:(?P<letter>[a-z])){CLOSING}(?=\.?\s*(?:$|\n)|\)|\.\s+(?-i:[A-Z]))
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LETTER_NOUN = (
    r"(?:option|choice|answer|antwort(?:m\u00f6glichkeit)?|l'option|r[eé]ponse|proposition|opci[oó]n|respuesta|alternativa|letra"
    r"|opzione|risposta|lettera|op[cç][aã]o|resposta|вариант|ответ|选项|選項|答案)"
)
# Words of "C is correct"; those of the second list need no verb.
_RIGHT = (
    r"correct[aoe]?|answer|antwort|r[eé]ponse|respuesta|risposta|resposta|corrett[ao]|corret[ao]|right|best"
    r"|most\s+(?:likely|appropriate|probable|plausible|consistent|suitable|fitting|compatible|reasonable|accurate|logical)|richtig\w{0,2}|korrekt\w{0,2}|bonne|juste|exacte|giust[ao]"
    r"|esatt[ao]|cert[ao]|верн\w{1,3}|правильн\w{1,3}"
)
_RIGHT_ALONE = (
    r"\s+(?:remains|is\s+left)(?=\s*(?:$|[.,;!\n]))"
    r"|\s+(?:trifft\s+zu|stimmt|верн\w{1,3}|правильн\w{1,3})(?!\w)|\s*(?:选项|選項)?\s*(?:正确|正確|最佳)"
)
IS_RIGHT = re.compile(
    rf"""(?:{_NOT_AFTER_WORD}{_LETTER_NOUN}\s*|(?:^|(?<=[\n.;:,!?\u3002\uff0c]))\s*
      |\b(?:thus|therefore|hence|so|that|only|but|la)\s+)
    {OPENING}(?P<letter>(?-i:[A-Z])|(?:(?<=option\ )|(?<=choice\ ))[a-z]){CLOSING}{NOT_IN_WORD}
    (?:\s*\([^()\n]{{1,80}}\)|[.):]\s+(?-i:[A-Z])[^.\n:;]{{1,80}}?)?{CLOSING}
    (?:(?P<verb>\s+(?:is|would\s+be|must\s+be|remains|seems|ist|est|es|est[aá]|является|è|é|—|-)(?!\w)
        |\s*(?:选项|選項)?\s*(?:是|为|為))
      \s*(?:therefore|thus|clearly|indeed|also|daher|donc|quindi|portanto)?\s*(?:the|die|la|a|el|le|los)?\s*(?:single\s+)?
      (?:{_NOT_AFTER_WORD}(?:{_RIGHT})(?![^\W{CJK}])|正确|正確|最佳)
    |{_RIGHT_ALONE})
    |(?:{_NOT_AFTER_WORD}(?:option|choice|answer)|\bist(?:\s+(?:option|antwort(?:m\u00f6glichkeit)?))?)
     \s+{OPENING}(?-i:(?P<fits>[A-Z])){CLOSING}(?=\s+(?:fits|matches)\s+best\b|\s+die\s+(?:richtige|korrekte|beste)\b
     |\s+(?:richtig|korrekt|zutreffend|am\s+(?!un|wenig)\w+sten)\b(?!\s*\?))""",
    re.IGNORECASE | re.VERBOSE,
)
# A letter in brackets at the end of a clause, behind a diagnosis in words: "rickets (C)", "rickets (option C)".
BRACKETED = re.compile(
    r"""\w[*_]*\s+[(\[]\s*(?:(?:option|choice|answer)\s+)?(?-i:(?P<letter>[A-Z]))\s*[)\]][*_]*
      (?=\s*(?:$|[.,;!\n])|\s+(?:is|as|because|since|due|rather|instead|over|fits|explains|accounts|matches
        |(?:the\s+)?(?:most|best|correct|right))\b)
    |\w[*_]*\s+[-\u2013\u2014]\s+(?:option|choice)\s+(?-i:(?P<dashed>[A-Z]))(?=\.?\s*$)
    |\w[*_]*,?\s+(?:(?:which|that)\s+(?:is|corresponds\s+to|matches)|i\.e\.,?|namely|corresponding\s+to)\s+
      (?:option|choice|answer)\s+[*_(\[]*(?-i:(?P<apposed>[A-Z]))[*_)\]]*(?=\s*(?:$|[.,;!\n]))
    |\w[*_]*,\s+(?:option|choice|answer)\s+[*_(\[]*(?-i:(?P<inserted>[A-Z]))[*_)\]]*(?=,\s)""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
# Words before a diagnosis that the answer is preferred to.
CONTRAST = re.compile(
    r"\b(?:rather\s+than|instead\s+of|as\s+opposed\s+to|in\s+contrast\s+to|compared\s+(?:with|to)|unlike|over|than|while|whereas"
    r"|although|though|despite)\b[^,;]*$",
    re.IGNORECASE,
)
# One option with what is thought of it, at the start of a line or sentence: "B. Rickets: incorrect", "C \u2705".
JUDGED = re.compile(
    r"""^[^\w\n]*(?:\d+[.)]\s*)?(?:(?:option|choice|answer)\s+)?[*_(\[]*(?-i:(?P<letter>[A-Z]))(?!\w)[*_`]*
      (?=\s*[.:)\](\-\u2013\u2014\u2705\u2714\u2713\u2611\u274c\u2717\u2718\u2716])(?P<rest>.*)$""",
    re.IGNORECASE | re.VERBOSE,
)
# Where the judgement of one option may end and that of the next begin.
NEXT_JUDGED = re.compile(r"\n|(?<=[.;,])\s+(?=(?:[Oo]ption\s+)?[*_(\[]*[A-Z][*_]*[:)\]])")
JUDGEMENT = re.compile(
    r"""(?P<no>[\u274c\u2717\u2718\u2716]|\b(?:incorrect|wrong|false|inappropriate|unlikely|improbable|less|excluded|ruled\s+out
      |cannot|not|never|no|falsch|faux|incorrecto|incorrecta|scorretto)\b|n't\b)
    |(?P<yes>[\u2705\u2714\u2713\u2611]|(?:^|[:()\-\u2013\u2014.*,=]|\b(?:is|the))[\s*_(]*(?:correct|right|richtig|korrekt|yes)\b
      (?=[\s*_)]*(?:[.,;:!()\-\u2013\u2014]|$|(?:answer|choice|option|because|since|as)\b)))""",
    re.IGNORECASE | re.VERBOSE,
)
TEXT_STATED = re.compile(
    rf"{_NOT_AFTER_WORD}(?:{'|'.join(_NOUNS.values())})(?![^\W{CJK}]){CLOSING}(?P<filler>)(?P<verb>{_VERBS})[\s:*_]*"
    rf"(?:(?:the|most\s+likely|probably|likely|therefore)\s+){{0,2}}(?P<text>[^\n]+)",
    re.IGNORECASE,
)
NEGATION_AFTER = re.compile(
    r"\s*(?:is|was|are|would be|seems)?\s*(?:not\b|n't|incorrect|wrong|false|unlikely|excluded|ruled out|less"
    r"|part(?:ial)?ly|contraindicated|inappropriate|harmful|dangerous|ineffective|impossible|improbable|a distractor)",
    re.IGNORECASE,
)
# Words before or in a statement that turn its meaning round.
NEGATION_BEFORE = re.compile(
    r"(?:\b(?:wrong|incorrect|false|worst|unlikely|least|less|not(?:\s+(?:the|an?))?|never|cannot\s+be|than|both"
    r"|not\s+(?:think|believe|say)(?:\s+that)?(?:\s+the)?|falsche|inkorrekte"
    r"|nicht(?:\s+die)?|(?:doubt|unsure|uncertain|unclear|whether|if)(?:\s+(?:that|if|whether))?(?:\s+the)?|neither|nor|fausse|mauvaise|incorrecta|incorreta|falsa|errada|sbagliata|errata|no|n\u00e3o|non|неправильный|неверный|не)"
    r"|n't\s+(?:think|believe|say)(?:\s+that)?(?:\s+the)?|错误|錯誤|不正确|不正確|不|非)\s*$",
    re.IGNORECASE,
)
NEGATION_INSIDE = re.compile(
    r"\b(?:not|never|wrong|incorrect|false|unlikely|least|less|except|excluded|nicht|kein\w*|falsch\w*|pas|fausse|moins|incorrect[ao]"
    r"|errad[ao]|n[aã]o|non|no|sbagliat[ao]|errat[ao]|inesatt[ao]|falsa|не|неверн\w*|неправильн\w*)\b|n't\b|错误|錯誤|不|非",
    re.IGNORECASE,
)
# A statement under a condition counts only if there is no other: "if there were fever, the answer would be A".
CONDITION = re.compile(
    r"\b(?:if|unless|had|wenn|falls|w[aä]re|si|se|если|might|may|could|initially|at\s+first|first\s+glance|tempting)\b|如果|若",
    re.IGNORECASE,
)
# A case that is not that of the question: "if there had been fever". "If I had to choose" is no such case.
COUNTERFACTUAL = re.compile(
    r"\b(?:(?:if|unless)\b.*\b(?:were|had(?!\s+to\b))\b|had\s+(?:the|he|she|it|they|there|this)\b.*\b(?:been|had)\b)",
    re.IGNORECASE,
)
_OR = r"or|and|oder|und|ou|et|o|y|u|e|и|или"
SECOND_LETTER = re.compile(
    rf"\s*(?:(?:,|;|/|&|\+|、|\uff0c|和|或者|或|与|及|\b(?:{_OR})\b|\s)\s*)+(?:either\s+|option\s+|la\s+|die\s+)?{OPENING}(?-i:([A-Z]))"
    rf"{CLOSING}{NOT_IN_WORD}(?!\s+(?:is|was|ist|est|would)\b)(?:{END}|(?=\s+(?:{_OR}|[A-Z])\b))",
    re.IGNORECASE,
)
# The line at which a model begins another question or turn of the conversation.
_QUESTION_WORD = (
    r"(?:(?:next|new|another|patient)\s+)?(?:question|q|problem|case|frage|pregunta|domanda|pergunta|quest[aã]o|вопрос"
    r"|问题|問題|题目|exercise|exercice|ejercicio|esercizio|exerc[ií]cio|aufgabe|задача|mcq|vignette|user|human|instruction|input)\s*(?:no\.?\s*|№\s*)?\d*"
)
NEXT_QUESTION = re.compile(
    rf"^[ \t]*(?:(?:[#>*_\[]+[ \t]*)+{_QUESTION_WORD}[ \t]*(?:[*_\]:.]|$)"
    rf"|(?:\d+[.)]\s*)?{_QUESTION_WORD}[ \t]*[:\uff1a]"
    rf"|(?:question|problem|frage|pregunta|domanda|pergunta|вопрос)[ \t]+\d+[.)]?[ \t]*$"
    # A number from 2 on, so that the first question of a model that repeats it is not cut off.
    rf"|(?:q|question|frage|pregunta|domanda|pergunta|вопрос)[ \t]*(?:[2-9]|\d{{2,}})[.)][ \t]"
    rf"|(?:(?:here(?:'s|[ ]is)|now|next)[ ,]+)?(?:another|a[ ]new|(?:the[ ])?(?:next|second))[ ]"
    rf"(?:question|case|problem|exercise)\b(?![ ]is\b)"
    rf"|q[.]?[ \t]*(?:[2-9]|\d{{2,}})[ \t]+(?-i:[A-Z])"
    rf"|(?:[2-9]|\d{{2,}})[.)][^\n]*\?[ \t]*\n\s*[(\[*]*(?:A[.):]|(?:correct\s+)?ans(?:wer)?\b)"
    rf"|(?:\d+[.)]|-{{3,}}\s*\n)\s*An?\s+[\w-]+[- ](?:year|month|week|day)s?[- ]old\b)"
    rf"|\#{{2,}}[ \t]*{_QUESTION_WORD}[ \t]*(?:[*_:]|$)|\[/?INST\]",
    re.IGNORECASE | re.MULTILINE,
)
# Words that take back the statement before them.
RETRACTION = re.compile(
    r"[\s.,;:!\u2014-]*(?:no[,.;!\u2014-]|wait\b|hmm|sorry|oops|correction|let me (?:reconsider|re-?think))",
    re.IGNORECASE,
)
# A restriction after "is correct": the statement is about another patient.
RESTRICTION = re.compile(r"\s+(?:\w+\s+)?(?:for|in|if|when|only|with)\b", re.IGNORECASE)
