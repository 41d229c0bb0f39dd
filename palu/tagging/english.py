"""English words that are common everywhere and so tell little on their own; nothing here was counted or trained."""


def _words(text: str) -> list[str]:
    return text.split()


# fmt: off
# Function words; contractions also as the part after their apostrophe
STOP_WORDS = frozenset(_words("""
    a about above according across actually after afterwards again against ago ain't all almost along already also
    although always am amid amidst among amongst an and another any anybody anyone anything anyway anywhere apart are
    around as aside at away back be became because become becomes becoming been before beforehand behind being below
    beneath beside besides between beyond both but by can cannot certain certainly could despite did do does doing
    done down due during each either else elsewhere enough especially etc even ever every everybody everyone
    everything everywhere except few first for former from further furthermore had has have having he hence her here
    hers herself him himself his how however i if in including indeed inside instead into is it its itself just
    largely last later latter least less like likely made mainly make makes making many may maybe me meanwhile might
    mine more moreover most mostly much must my myself namely near nearly neither never nevertheless next no nobody
    none nor not nothing notably now nowhere of off often on once one ones only onto or other others otherwise ought
    our ours ourselves out outside over own particularly per perhaps primarily quite rather really regarding same
    shall she should since so some somebody somehow someone something sometimes somewhat somewhere soon still such
    than that the their theirs them themselves then there thereby therefore these they this those though through
    throughout thus till to together too toward towards under unless unlike until up upon us usually various versus
    very via was we well were what whatever when whenever where whereas wherever whether which while who whoever whom
    whose why will with within without would yes yet you your yours yourself yourselves
    's 'd 'll 'm 're 've n't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't shouldn't wasn't
    weren't won't wouldn't
"""))

# Verbs as dictionaries list them; their regular forms are made below
_VERBS = _words("""
    accept achieve act add admit adopt affect agree aim allow announce answer appear apply appreciate arrive ask
    assist attend attract avoid award base beat begin believe belong bring build burn buy call care carry catch
    cause celebrate change choose claim climb close collect come complete concern consider consist contain continue
    contribute control cook cost count cover create cross cut dance deal decide deliver demand depend describe
    design develop die discover discuss draw dream drink drive drop earn eat employ encourage end enjoy enter
    establish examine exist expect explain explore express face fail fall feature feed feel fight fill find finish
    fit fix fly focus follow force forget form gain gather get give go grow guide happen hate hear help hide hit
    hold honor honour hope hunt identify imagine improve include increase influence inform inspire intend introduce
    involve join jump keep kill know land last laugh lead learn leave let lie like list listen live look lose love
    maintain manage mark marry matter mean measure meet mention mind miss move name need note notice observe obtain
    offer open order own paint pass pay perform pick place plan play point prefer prepare present prevent print
    produce promise promote protect prove provide publish pull push put raise reach read realize receive recognise
    recognize recommend record reduce refer reflect relate release remain remember remove repair replace report
    represent require respect rest result return reveal ride ring rise run save say search see seem sell send serve
    set settle shape share shine show shut sign sing sit sleep smile solve sound speak spend stand start state stay
    stop strike struggle study succeed suffer suggest support suppose surprise surround take talk teach tell tend
    thank think throw touch train travel treat trust try turn understand use value visit wait walk want wash watch
    wear win wish wonder work worry write
""")
_IRREGULAR_FORMS = _words("""
    ate beaten began begun bought broke broken brought
    built came caught chose chosen dealt drank drawn drew driven drove eaten fallen fed fell felt flew flown forgot
    forgotten fought found gave given gone got gotten grew grown heard held hid hidden kept knew known laid lain lay
    led left lost lying meant met paid rang ridden risen rode rose rung said sang sat saw seen sent shone shown
    slept sold sought spent spoke spoken stood struck sung taken taught thought threw thrown told took understood
    went woke won wore worn written wrote
""")
_NOUNS = _words("""
    ability account activity age air amount animal answer area arm art article attention author back bed bird birth
    board boat body book box boy brother building business car card career case cause center centre chance change
    character child childhood choice church city class club collection color colour community company condition
    control corner country couple course cup daughter day death decision degree design desk detail development
    diploma dog door dress early effect effort end evening event example experience eye face fact family father
    favourite favorite field figure fire floor food foot form friend game garden girl glass ground group hair half
    hall hand head health heart history holiday home hope hour house husband idea individual industry influence
    inspiration interest island issue job journey kind king kitchen knowledge land language law letter level life
    light line list literature look love man market marriage matter meal meeting member message middle mind minute
    moment money month morning mother mouth movement music name nature neighbor neighbour news newspaper night note
    number office order page paper parent part party past path pen people period person phone picture piece place
    plan play point position power practice present press price problem process profession project public purpose
    question quality range reader reason record relationship report rest result rise river road role room rule
    school sea season seat section sense series service shop side sign sister situation size skill son song sort
    sound space stage start state step story street student study style subject summer sun surface system table
    talent teacher team test theme thing thought time title today tomorrow tool top town train tree trip trouble
    truth type uncle understanding use value view village voice walk wall war water way week weekend wife wind
    window winter woman word work world writer writing year young
""")
_DESCRIBING = _words("""
    able absolutely accomplished active actual alone available bad beautiful best better big black blue brief bright
    broad brown busy careful central clear close cold common complete constant current dark dear deep different
    difficult direct distinct dry early easy effective empty entire equal exact excellent fair familiar famous far
    fast few final fine fit foreign free frequent fresh full general gentle good grand great green grey happy hard
    heavy high hot huge human important independent inner interesting key large late left light little local long
    loud low lucky main major mere modern natural nearby necessary new nice normal old open ordinary original
    outside personal plain pleasant poor popular possible previous private proper public quick quiet rapid rare
    ready real recent red regular rich right rough round safe second separate serious sharp short significant silent
    similar simple single slow small smooth soft special steep strange strict strong sudden sure sweet tall thick
    thin tight tiny tired true typical unique usual various vast warm weak wet white whole wide wild wise wonderful
    wooden wrong yellow young ago away down east forever maybe north south tonight west yesterday
""")
# fmt: on


def _verb_forms(verb: str) -> set[str]:
    short, doubled = verb[:-1], verb + verb[-1]
    if verb[-1] == "e":
        return {verb, verb + "s", verb + "d", short + "ing"}
    if verb[-1] == "y" and verb[-2] not in "aeou":
        return {verb, short + "ies", short + "ied", verb + "ing"}
    ending = "es" if verb.endswith(("s", "x", "ch", "sh", "o")) else "s"
    return {verb, verb + ending, verb + "ed", verb + "ing", doubled + "ed", doubled + "ing"}


def _noun_forms(noun: str) -> set[str]:
    if noun[-1] == "y" and noun[-2] not in "aeou":
        return {noun, noun[:-1] + "ies"}
    return {noun, noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")}


def _adjective_forms(adjective: str) -> set[str]:
    return {adjective, adjective[:-1] + "ily" if adjective[-1] == "y" else adjective + "ly"}


_FORMS = (
    ("v", {form for verb in _VERBS for form in _verb_forms(verb)} | set(_IRREGULAR_FORMS)),
    ("n", {form for noun in _NOUNS for form in _noun_forms(noun)}),
    ("a", {form for adjective in _DESCRIBING for form in _adjective_forms(adjective)}),
)
# Word -> letters of the classes that it may be of: v verb, n noun, a adjective or adverb
COMMON: dict[str, str] = {}
for _letter, _forms in _FORMS:
    for _word in sorted(_forms):
        COMMON[_word] = COMMON.get(_word, "") + _letter
