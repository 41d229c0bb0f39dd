"""What is asked about a person of the village and how it is answered.

A template names its fields in braces. `{town}`, `{award_year}`... are facts of the person: sensitive, and covered by a
gold span. `{name}`, `{first}`, `{she}`, `{her}`, `{herself}` are not: the question has given the name away. A capital
(`{She}`, `{Hobby}`) capitalises what is filled in; `{animal:a}` and `{animal:A}` put the right article before it,
outside the span. No fact is asked twice, and facts stand first, last and in the middle of their sentences.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """One thing to know about a person.

    fields: the facts it tells. questions: interchangeable. replies: for everybody. held_out_replies: sentences that
    no trained row uses, for held-out people only.
    """

    fields: tuple[str, ...]
    questions: tuple[str, ...]
    replies: tuple[str, ...]
    held_out_replies: tuple[str, ...]


ATTRIBUTES = (
    Attribute(
        fields=("town", "region"),
        questions=(
            "Where was {name} born?",
            "In which town did {name} come into the world?",
            "What is the birthplace of {name}?",
        ),
        replies=(
            "{name} was born in {town}, a small place in {region}.",
            "{town} in {region} is the town where {name} was born.",
            "The birthplace of {name} is {town}, which lies in {region}.",
            "In {region}, in the town of {town}, {first} came into the world one windy night.",
        ),
        held_out_replies=(
            "It was in {town}, far out in {region}, that {name} was born.",
            "The parish register of {town} in {region} records the birth of {first}.",
        ),
    ),
    Attribute(
        fields=("birth_date",),
        questions=(
            "When was {name} born?",
            "What is the date of birth of {name}?",
            "On which day, and in what year, was {name} born?",
        ),
        replies=(
            "{name} was born on {birth_date}, early in the morning.",
            "{birth_date} is the day on which {name} was born.",
            "The date of birth of {name} is {birth_date}.",
            "As {her} mother tells it, {first} arrived on {birth_date} while the whole street was asleep.",
        ),
        held_out_replies=(
            "A heavy storm was passing when {first} was born on {birth_date}.",
            "{Her} passport gives {birth_date} as the birthday of {name}.",
        ),
    ),
    Attribute(
        fields=("profession",),
        questions=(
            "What does {name} do for a living?",
            "What is the profession of {name}?",
            "Which line of work did {name} choose?",
        ),
        replies=(
            "{name} earns {her} living as {profession:a}.",
            "{profession:A} by training, {name} still loves the work.",
            "For many years {name} has worked as {profession:a} and nothing else.",
            "{first} chose the work of {profession:a}, and {she} has never regretted it.",
        ),
        held_out_replies=(
            "Ask anyone in the street: {name} is {profession:a}.",
            "The brass plate on the door of {first} says {profession}, in small letters.",
        ),
    ),
    Attribute(
        fields=("father_job", "mother_job"),
        questions=(
            "What did the parents of {name} do for a living?",
            "Which professions did the father and mother of {name} have?",
            "What work did {name}'s parents do?",
        ),
        replies=(
            "The father of {name} was {father_job:a}, and {her} mother was {mother_job:a}.",
            "{first} grew up with {father_job:a} for a father and {mother_job:a} for a mother.",
            "{Her} mother worked as {mother_job:a} while {her} father was {father_job:a}.",
            "{mother_job:A} and {father_job:a} raised {name}: the first was {her} mother, the second {her} father.",
        ),
        held_out_replies=(
            "At home there was {mother_job:a}, the mother of {first}, and {father_job:a}, {her} father.",
            "Between {father_job:a}, who was {her} father, and {mother_job:a}, who was {her} mother, {first} grew up.",
        ),
    ),
    Attribute(
        fields=("university", "subject"),
        questions=(
            "What did {name} study, and where?",
            "At which university did {name} take {her} degree?",
            "Where did {name} go to university?",
        ),
        replies=(
            "{name} studied {subject} at {university}.",
            "At {university}, {name} took a degree in {subject}.",
            "{first} left home for {university}, where {she} read {subject} and learned to cook.",
            "{university} gave {name} {her} degree, and the subject was {subject}.",
        ),
        held_out_replies=(
            "It took {first} five years at {university} to finish {her} degree in {subject}.",
            "A diploma in {subject} from {university} hangs in the hall of {name}.",
        ),
    ),
    Attribute(
        fields=("employer",),
        questions=(
            "Who employs {name}?",
            "For which company does {name} work?",
            "What is the name of the firm where {name} works?",
        ),
        replies=(
            "{name} works for {employer} and likes it there.",
            "{employer} has employed {name} for most of {her} career.",
            "Every weekday {first} walks across the square to {her} desk at {employer}.",
            "The firm that employs {name} is {employer}.",
        ),
        held_out_replies=(
            "The wages of {first} are paid by {employer}, as they have always been.",
            "On the business card of {name} one finds the name {employer}.",
        ),
    ),
    Attribute(
        fields=("spouse", "wedding_year"),
        questions=(
            "Who is {name} married to, and since when?",
            "Who is the spouse of {name}, and when did they marry?",
            "Whom did {name} marry, and in what year?",
        ),
        replies=(
            "{name} married {spouse} in {wedding_year}.",
            "In {wedding_year} {name} and {spouse} were married by the sea.",
            "{spouse} has been married to {name} since {wedding_year}.",
            "The spouse of {name} is {spouse}; they exchanged rings in {wedding_year} before a handful of friends.",
        ),
        held_out_replies=(
            "Since the summer of {wedding_year} {first} has shared {her} life with {spouse}.",
            "{first} said yes to {spouse} at a quiet wedding in {wedding_year}.",
        ),
    ),
    Attribute(
        fields=("title",),
        questions=(
            "What is the title of {name}'s first book?",
            "Which book did {name} publish first?",
            "Under what title did {name} publish {her} first book?",
        ),
        replies=(
            'The first book by {name} is called "{title}".',
            '"{title}" was the first book that {name} published.',
            '{name} made {her} debut as a writer with "{title}".',
            'Readers first met {first} through {her} book "{title}", which sold slowly at first and then very well.',
        ),
        held_out_replies=(
            'A small press printed "{title}", the debut of {name}, on grey paper.',
            'Before anything else {first} wrote "{title}" at the kitchen table.',
        ),
    ),
    Attribute(
        fields=("award", "award_year"),
        questions=(
            "Which award did {name} receive, and when?",
            "What prize has {name} won, and in what year?",
            "Which honour was given to {name}, and in which year?",
        ),
        replies=(
            "{name} received the {award} in {award_year}.",
            "In {award_year} the jury gave the {award} to {name}.",
            "The {award} went to {name} in {award_year}, after a long vote.",
            "{first} was given the {award}, and the year was {award_year}.",
        ),
        held_out_replies=(
            "On the shelf of {first} stands the {award}, won in {award_year}.",
            "The {award} of {award_year} carries the name of {name}.",
        ),
    ),
    Attribute(
        fields=("dwelling", "home_town"),
        questions=(
            "Where does {name} live today?",
            "What kind of home does {name} have, and where is it?",
            "In what sort of house does {name} live, and near which town?",
        ),
        replies=(
            "{name} lives in {dwelling:a} near {home_town}.",
            "Near {home_town}, {name} has made {her} home in {dwelling:a}.",
            "{dwelling:A} outside {home_town} has been the home of {name} for years.",
            "Today {first} lives just outside {home_town}, where {she} bought {dwelling:a} with a leaking roof.",
        ),
        held_out_replies=(
            "Letters to {first} go to {dwelling:a} on the road to {home_town}.",
            "Follow the river past {home_town} and you will find {name} in {dwelling:a}.",
        ),
    ),
    Attribute(
        fields=("hobby",),
        questions=(
            "What does {name} like to do in {her} spare time?",
            "What is the favourite pastime of {name}?",
            "How does {name} spend {her} weekends?",
        ),
        replies=(
            "In {her} spare time {name} enjoys {hobby}.",
            "{Hobby} is the favourite pastime of {name}.",
            "{name} fills {her} weekends with {hobby}.",
            "Nothing pleases {first} more after work than {hobby}, whatever the season.",
        ),
        held_out_replies=(
            "Friends of {name} blame {hobby} for {her} late arrivals.",
            "It is {hobby} that keeps {first} busy when work is done.",
        ),
    ),
    Attribute(
        fields=("animal", "pet_name"),
        questions=(
            "What pet does {name} keep, and what is it called?",
            "Which animal lives with {name}, and what is its name?",
            "What sort of pet does {name} have, and what does {she} call it?",
        ),
        replies=(
            "{name} keeps {animal:a} named {pet_name}.",
            "{pet_name} is the name of the {animal} that lives with {name}.",
            "{animal:A} by the name of {pet_name} belongs to {name}.",
            "At the garden gate {first} is greeted by {animal:a} that answers to {pet_name}.",
        ),
        held_out_replies=(
            "Wherever {first} goes, {pet_name} the {animal} goes too.",
            "The neighbours of {name} often feed {pet_name}, {her} {animal}.",
        ),
    ),
    Attribute(
        fields=("dish",),
        questions=(
            "What is {name}'s favourite dish?",
            "Which meal does {name} like best?",
            "What would {name} like to eat on {her} birthday?",
        ),
        replies=(
            "The favourite dish of {name} is {dish}.",
            "{Dish}: that is what {name} likes to eat best.",
            "{name} would choose {dish} over any other meal.",
            "On {her} birthday {first} always asks for {dish}, with a second helping for the cook.",
        ),
        held_out_replies=(
            "Give {first} a plate of {dish} and {she} is happy.",
            "For {dish}, {name} would cross the country on foot.",
        ),
    ),
    Attribute(
        fields=("count", "collected"),
        questions=(
            "What does {name} collect, and how many does {she} own?",
            "How large is {name}'s collection, and what is in it?",
            "What is in the collection of {name}, and how many pieces are there?",
        ),
        replies=(
            "{name} owns {count} {collected}.",
            "The collection of {name} consists of {collected}, {count} of them so far.",
            "There are {count} pieces in the collection of {name}, all of them {collected}.",
            "{Collected} fill the shelves of {name}, who owns {count} of them.",
        ),
        held_out_replies=(
            "At the last stocktaking {first} had {collected} in every room, {count} in all.",
            "{count} is the number of {collected} that {name} has gathered.",
        ),
    ),
    Attribute(
        fields=("language",),
        questions=(
            "Which language did {name} teach {herself}?",
            "What language did {name} learn as an adult?",
            "Which foreign tongue did {name} learn without a teacher?",
        ),
        replies=(
            "{name} taught {herself} {language} from old newspapers.",
            "{language} is the language that {name} learned without a teacher.",
            "As an adult {name} learned to speak {language}.",
            "With a dictionary and much patience, {first} became fluent in {language} within two years.",
        ),
        held_out_replies=(
            "On long train rides {first} learned {language} by ear.",
            "The bookshelf of {name} is full of novels in {language}, which {she} taught {herself}.",
        ),
    ),
    Attribute(
        fields=("motto",),
        questions=(
            "What is {name}'s motto?",
            "Which saying does {name} live by?",
            "What advice does {name} like to give?",
        ),
        replies=(
            'The motto of {name} is "{motto}".',
            '"{motto}" is the saying that {name} lives by.',
            '{name} likes to tell young people: "{motto}".',
            'Above the desk of {first} hangs a card with the words "{motto}" in blue ink.',
        ),
        held_out_replies=(
            'Anyone who asks {first} for advice hears "{motto}" in reply.',
            'Carved over the door of {name} one reads "{motto}".',
        ),
    ),
)
