"""Sentences in the 23 languages, composed of common words: openings, middles and ends that combine.

Grammar is second to variety here: accents, ligatures, digits, quotes, marks, both cases.
"""

from __future__ import annotations

from itertools import product

_PARTS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "ar": (
        ["مرحبا", "صباح الخير", "في الحقيقة،", "قالت أمي:"],
        ["الطقس جميل", "أريد كوبًا من القهوة", "ذهب الولد إلى المدرسة", "عندي ٣ كتب"],
        ["اليوم.", "جدًّا!", "أليس كذلك؟", "مع أصدقائي"],
    ),
    "da": (
        ["Hej", "God morgen,", "På søndag", "Æblet sagde:"],
        [
            "vil jeg gerne have kaffe",
            "går vi ud i sneen",
            "er året 2024 forbi",
            "spiser børnene rødgrød",
        ],
        ["i dag.", "med fløde!", "ikke også?", "på øen"],
    ),
    "de": (
        ["Guten Morgen,", "Übermorgen", "Der Bär – so groß –", "„Ähm“, sagte er:"],
        [
            "gehen wir über die Straße",
            "esse ich 3 süße Äpfel",
            "regnet es in München",
            "heißt das Maß voll",
        ],
        ["nach Hause.", "schöner als je!", "oder nicht?", "am Fluß..."],
    ),
    "el": (
        ["Καλημέρα,", "Ο φίλος μου", "Αύριο", "ΕΛΛΑΔΑ:"],
        ["πίνει έναν καφέ", "διαβάζει το βιβλίο", "θα πάμε στη θάλασσα", "έχει 5 γάτες"],
        ["σήμερα.", "στο σπίτι!", "έτσι δεν είναι;", "με τους ΰστερους"],
    ),
    "en": (
        ["Good morning,", "The old man", "“Well”, she said:", "On Monday..."],
        [
            "it's raining again",
            "I would like 2 cups of tea",
            "naïve cafés don't open",
            "we're going home",
        ],
        ["today.", "with friends!", "isn't it?", "— or not"],
    ),
    "es": (
        ["¡Buenos días!", "Mañana", "El niño pequeño", "«Oye», dijo:"],
        ["quiero un café", "vamos a la montaña", "come 4 plátanos", "es el cumpleaños de mi tía"],
        ["hoy.", "con los amigos!", "¿verdad?", "en España"],
    ),
    "fi": (
        ["Hyvää huomenta,", "Äiti", "Tänään", "Åbo eli Turku:"],
        ["juon kupin kahvia", "menemme mökille järvelle", "syö 6 leipää", "sataa lunta"],
        ["yhdessä.", "pian!", "eikö niin?", "kotona"],
    ),
    "fr": (
        ["Bonjour,", "Ça va ?", "L'élève", "« Eh bien », dit-il :"],
        [
            "je voudrais un café crème",
            "il a mangé 8 œufs",
            "nous allons à l'hôtel",
            "où est la forêt",
        ],
        ["aujourd'hui.", "à Noël !", "n'est-ce pas ?", "avec ma sœur"],
    ),
    "he": (
        ["שלום,", "בוקר טוב", "הילד אמר:", "שָׁלוֹם לכולם"],
        ["אני רוצה כוס קפה", "הולכים לבית הספר", "יש לי 3 חתולים", "יורד גשם בירושלים"],
        ["היום.", "עם חברים!", "נכון?", "מחר"],
    ),
    "hi": (
        ["नमस्ते,", "आज", "मेरी माँ ने कहा:", "सुबह में"],
        ["मुझे एक कप चाय चाहिए", "हम स्कूल जा रहे हैं", "बारिश हो रही है", "मेरे पास ५ क़लम हैं"],
        ["आज।", "दोस्तों के साथ!", "है ना?", "घर पर"],
    ),
    "it": (
        ["Buongiorno,", "È vero:", "Perché no?", "L'amico"],
        ["vorrei un caffè", "andiamo in città", "mangia 7 mele", "piove più di ieri"],
        ["oggi.", "con gli amici!", "vero?", "lunedì"],
    ),
    "ja": (
        ["おはようございます。", "今日は", "日本語の先生が「ええ」と", "東京へ"],
        [
            "学校へ行きます",
            "コーヒーを2杯飲みました",
            "雨が降っています",
            "母は本を読むのが好きです",
        ],
        ["。", "ね！", "でしょうか？", "、葉書と部屋"],
    ),
    "ko": (
        ["안녕하세요,", "오늘은", "우리 어머니가", "“네”라고:"],
        ["커피를 한 잔 마시고 싶어요", "학교에 갑니다", "비가 많이 와요", "책 3권을 읽었습니다"],
        ["정말.", "친구와 함께!", "그렇죠?", "값싼 닭고기 "],
    ),
    "ms": (
        ["Selamat pagi,", "Hari ini", "Ibu saya", "Kata guru:"],
        [
            "saya mahu secawan kopi",
            "kami pergi ke sekolah",
            "makan 3 biji mangga",
            "hujan turun lebat",
        ],
        ["sekarang.", "bersama kawan-kawan!", "bukan?", "di rumah"],
    ),
    "nl": (
        ["Goedemorgen,", "Vandaag", "De jongen zei:", "Één ĳsje"],
        ["wil ik graag koffie", "gaan we naar zee", "regent het in België", "eet hij 9 appels"],
        ["samen.", "met vrienden!", "toch?", "'s avonds"],
    ),
    "no": (
        ["God morgen,", "I dag", "Ærlig talt:", "Øyvind"],
        [
            "vil jeg ha en kopp kaffe",
            "går vi på ski på fjellet",
            "regner det i Ålesund",
            "leser 3 bøker",
        ],
        ["nå.", "med venner!", "ikke sant?", "hjemme"],
    ),
    "pl": (
        ["Dzień dobry,", "Dziś", "Żółta łódź", "„Cóż”, rzekł:"],
        ["chcę kubek kawy", "idziemy do szkoły", "pada śnieg w Łodzi", "zjadł 5 gruszek"],
        ["razem.", "z przyjaciółmi!", "prawda?", "w domu…"],
    ),
    "pt": (
        ["Bom dia,", "Amanhã", "A mãe disse:", "Ótimo;"],
        ["quero um café", "vamos à praia", "há 2 pães na mesa", "chove em São Paulo"],
        ["hoje.", "com os irmãos!", "não é?", "à noite"],
    ),
    "ru": (
        ["Доброе утро,", "Сегодня", "Мой друг сказал:", "Ёлка"],
        ["я хочу чашку кофе", "мы идём в школу", "старый за́мок стоит на горе", "у него 3 кошки"],
        ["вместе.", "с друзьями!", "не так ли?", "дома"],
    ),
    "sv": (
        ["God morgon,", "Idag", "Älgen", "Å andra sidan:"],
        ["vill jag ha kaffe", "åker vi till sjön", "regnar det i Malmö", "äter hon 3 ägg"],
        ["nu.", "med vänner!", "eller hur?", "på ön"],
    ),
    "sw": (
        ["Habari za asubuhi,", "Leo", "Mama yangu", "Ng'ombe:"],
        ["nataka kikombe cha chai", "tunaenda shuleni", "mvua inanyesha", "ana vitabu 3"],
        ["sasa.", "pamoja na marafiki!", "sivyo?", "nyumbani"],
    ),
    "tr": (
        ["Günaydın,", "Bugün", "İstanbul'da", "Işık dedi ki:"],
        ["bir fincan kahve istiyorum", "okula gidiyoruz", "yağmur yağıyor", "3 kitap okudu"],
        ["şimdi.", "arkadaşlarla!", "değil mi?", "çok güzel"],
    ),
    "zh": (
        ["你好，", "今天", "老师说：", "我爱北京"],
        ["天气很好", "我们去学校学习汉语", "他想吃3个苹果和茶", "這是中國的東西 and books"],
        ["。", "！", "吗？", "，是不是"],
    ),
}

LANGUAGES = tuple(_PARTS)


def sentences(language: str) -> list[str]:
    """64 of them."""
    return [" ".join(parts) for parts in product(*_PARTS[language])]
