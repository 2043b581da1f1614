"""Pattern fragments of dates for the profile `recall`: months, weekdays, holidays; English and German."""

EN_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)"
)
DE_MONTHS = (
    r"(?:J[äa]n(?:ner|uar)?|Feber|Feb(?:ruar)?|M(?:ä|ae)rz|Mrz|Apr(?:il)?|Mai|Jun[io]?|"
    r"Jul[iy]?|Aug(?:ust)?|Sept?(?:ember)?|"
    r"Okt(?:ober)?|Nov(?:ember)?|Dez(?:ember)?)"
)
MONTH = rf"(?i:{EN_MONTHS}|{DE_MONTHS})\b\.?"
YEAR4 = r"(?:1[89]|20)[0-9]{2}"
YEAR = rf"(?:{YEAR4}|['\u2019]?[0-9]{{2}})"
DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
MON = r"(?:0?[1-9]|1[0-2])"
ORDINAL = rf"{DAY}(?i:st|nd|rd|th)"
FREE = r"(?<![\w./:-])(?<![0-9],)"
WEEKDAYS = (
    r"(?i:Mondays?|Tuesdays?|Wednesdays?|Thursdays?|Fridays?|Saturdays?|Sundays?|Montags?|Dienstags?|Mittwochs?|"
    r"Donnerstags?|Freitags?|Samstags?|Sonnabends?|Sonntags?)(?:abend|morgen|mittag|nachmittag|vormittag|nacht)?\b"
)
SHORT_WEEKDAYS = (
    r"(?:Mon|Tues?|Weds?|Thu(?:r|rs)?|Fri|Sat|Sun|MON|TUES?|WEDS?|THU(?:RS)?|FRI|"
    r"SAT|SUN|Mo|Di|Mi|Do|Fr|Sa|So)\b\.?"
)
PART_OF_DAY = (
    r"(?: ?-?(?i:mornings?|afternoons?|evenings?|nights?|noon|lunchtime|a\.?m\.?|"
    r"p\.?m\.?|abend|morgen|mittag|nachmittag|vormittag|nacht)\b)?"
)
SEASON = r"(?i:spring|summer|autumn|fall|winter|frühjahr|frühling|sommer|herbst)"
HOLIDAYS = (
    r"(?i:Thanksgiving|Christmas(?: Eve| Day)?|Xmas|Easter(?: Sunday| Monday| weekend)?|Good Friday|Ash Wednesday|"
    r"Palm Sunday|Whit(?:sun| Monday)|Pentecost|New Years?['\u2019]?s?(?: Eve| Day)?|"
    r"NY[ED]|Bank Hol(?:iday)?s?|Burns Night|Pancake Day|Remembrance (?:Sunday|Day)|"
    r"Michaelmas|May Day|Easter (?:Mon|Sun|Sat)|Whit (?:Sunday|weekend)|Hogmanay|"
    r"Halloween|Labou?r Day|"
    r"Memorial Day|Independence Day|(?:the )?(?:4th|Fourth) of July|Veterans['\u2019]? Day|"
    r"Columbus Day|Presidents['\u2019]? Day|"
    r"MLK Day|Martin Luther King Day|Juneteenth|Mother['\u2019]?s Day|Father['\u2019]?s Day|"
    r"Mothering Sunday|Valentine['\u2019]?s"
    r"(?: Day)?|St\.? (?:Patrick|Stephen|Andrew|George|David)['\u2019]?s Day|Boxing Day|"
    r"Bank Holiday|Guy Fawkes(?: Night)?|Bonfire Night|"
    r"Shrove Tuesday|Canada Day|Australia Day|Anzac Day|Groundhog Day|Super Bowl Sunday|Mardi Gras|Cinco de Mayo|"
    r"Ramadan|Eid(?:[ -](?:al|ul)[ -](?:Fitr|Adha))?|Diwali|Holi\b(?! day)|Hanukkah|"
    r"Chanukah|Passover|Pesach|Rosh Hashanah?|Yom Kippur|"
    r"Purim|Sukkot|Shavuot|Kwanzaa|Lunar New Year|Chinese New Year|Navratri|Dussehra|Vesak|Nowruz|"
    r"Weihnachten|Weihnachts(?:tag|abend|feiertag)\w*|Heilig(?:er )?abend|Heiligabend|"
    r"Ostern|Oster(?:sonntag|montag|samstag)|Pfingsten|Pfingst(?:sonntag|montag)|"
    r"Silvester|Neujahr(?:stag)?|Karfreitag|Gründonnerstag|Christi Himmelfahrt|Fronleichnam|"
    r"Allerheiligen|Nikolaus(?:tag)?|"
    r"Rosenmontag|Aschermittwoch|Fasching|Buß- und Bettag|Reformationstag|Dreikönigstag|"
    r"Heilige Drei Könige|Tag der Arbeit|"
    r"Muttertag|Advent(?:ssonntag)?)\b"
)
NEAR = (
    r"(?i:last|next|this(?: past| coming)?|past|coming|early|mid|late|end of|beginning of|"
    r"start of|letzten?|letzter|kommenden?|kommender|"
    r"nächsten?|vergangenen?|vorigen?|Anfang|Mitte|Ende)"
)
