"""Word lists of the de-identification profile `recall`, from `context.txt`.

A word beside a capital word shows that it is a person, an organisation or a place, or that it is no name. Titles, roles
and verbs are evidence of a person; medical nouns are evidence of a medical term.
"""

from __future__ import annotations

from .lists import section

# A name follows, in any case: "dr smith", "Frau Koch".
TITLES = section("context.txt", "titles")
# Titles that stay a title before an ordinary word with a capital letter ("Dr Long"), if it is a listed name or not.
SHORT_TITLES = section("context.txt", "short titles")
# Titles in small letters before a name in small letters.
SMALL_TITLES = section("context.txt", "small titles")
ROLES = section("context.txt", "roles")
RELATIVES = section("context.txt", "relatives")
# A person does this: an ordinary word or an eponym before such a verb at the beginning of a sentence is a name.
VERBS = section("context.txt", "verbs")
# Before an eponym at the beginning of a sentence, these are no evidence: an object can "be" and "have" too.
WEAK_VERBS = section("context.txt", "weak verbs")
# What turns the name before it into a medical term, beside those of `eponyms.txt`.
MEDICAL_NOUNS = section("context.txt", "medical nouns")
EPONYM_NOUNS = section("context.txt", "eponym nouns")
BEFORE_EPONYM = section("context.txt", "before eponym")
AFTER_EPONYM = section("context.txt", "after eponym")
BEFORE_MEDICAL = section("context.txt", "before medical")
# The last words of the phrases before a name in `recall_names.PERSONAL`.
BEFORE_PERSON = section("context.txt", "before person")
ANNOUNCING = ROLES | RELATIVES | frozenset({"law", "name"})
PARTICLES = section("context.txt", "particles")
SUFFIXES = section("context.txt", "suffixes")
CREDENTIALS = section("context.txt", "credentials")
GERMAN_MARKS = section("context.txt", "german marks")
# Capital words that a role, relative or given name never precedes as a name.
NO_NAME = section("context.txt", "no name")
ORGANISATIONS = section("context.txt", "organisations")
# Before the word of a practice or home, these make a name of it.
PLACE_WORDS = section("context.txt", "place words")
FACILITIES = section("context.txt", "facilities")
# Words of organisations that stand before their name.
BEFORE_ORGANISATION = section("context.txt", "before organisation")
# Before a place.
BEFORE_PLACE = section("context.txt", "before place")
NO_INITIALS = section("context.txt", "no initials")
LETTERED = section("context.txt", "lettered")
BEFORE_EMPLOYER = section("context.txt", "before employer")
BEFORE_FACILITY = section("context.txt", "before facility")
# The last words of the names of organisations; words beside them that make no proper name; words that end a name.
HEADS = section("context.txt", "heads")
GENERIC = section("context.txt", "generic")
NO_ORGANISATION = section("context.txt", "no organisation")
NO_EMPLOYER = section("context.txt", "no employer")
# The first parts of German compounds such as "Fachklinik" that make no proper name, and those that make one.
GERMAN_KINDS = section("context.txt", "german kinds")
GERMAN_PLACE_WORDS = section("context.txt", "german place words")
GERMAN_PREFIXES = section("context.txt", "german prefixes")
# German words before a noun that is no name; words before a legal form that are no part of the name; ends of towns.
BEFORE_NOUN = section("context.txt", "before noun")
NO_PART = section("context.txt", "no part of organisation")
TOWN_ENDS = section("context.txt", "town ends")
