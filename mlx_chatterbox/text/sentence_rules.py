"""Tables for splitting texts into sentences: each language's abbreviations and other words.

A full stop ends a sentence, unless these tables say otherwise. In doubt a text is not split: two
sentences spoken together sound well, a sentence cut after "Dr." does not.
"""

from __future__ import annotations

from dataclasses import dataclass


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


@dataclass(frozen=True)
class SentenceRules:
    """The tables of one language; in lower case, abbreviations without their last full stop.

    Attributes:
        titles: abbreviations that something always follows: "dr".
        numbered: those only before a number: "no. 5", but "No. That is it."
        enders: those that may end a sentence; they do where the next word is one of `starters`,
            or any capitalised word where nouns are not written with capitals.
        starters: words that so often begin a sentence that they begin one after an initial, an
            acronym or an ordinal.
        ordinals: numbers up to two digits, and Roman ones, with a full stop are ordinals: "3. Mai".
        nouns_capital: nouns have capitals, so a capital does not mark the beginning of a sentence.
        joints: words before which a long clause is cut.
        chapters: words that begin the heading of a chapter in plain text.
    """

    titles: frozenset[str] = frozenset()
    numbered: frozenset[str] = frozenset()
    enders: frozenset[str] = frozenset()
    starters: frozenset[str] = frozenset()
    ordinals: bool = False
    nouns_capital: bool = False
    joints: tuple[str, ...] = ()
    chapters: tuple[str, ...] = ()


def _rules(
    titles="", numbered="", enders="", starters="", joints="", chapters="", **flags
) -> SentenceRules:
    return SentenceRules(
        word_set(titles),
        word_set(numbered),
        word_set(enders),
        word_set(starters),
        joints=tuple(joints.split()),
        chapters=tuple(chapters.split()),
        **flags,
    )


RULES: dict[str, SentenceRules] = {
    "en": _rules(
        titles="mr mrs ms mx dr prof rev hon st sr fr gen col capt lt sgt cpl maj cmdr adm gov sen "
        "rep pres supt insp messrs mme mlle mt ft vs viz cf approx e.g i.e jan feb mar apr jun jul "
        "aug sep sept oct nov dec dept univ esp ca",
        numbered="no nos p pp vol vols fig figs ch chap sec art ed eq ver v n op",
        enders="etc inc ltd co corp jr bros a.m p.m al ave blvd rd ph.d m.d b.a m.a b.c a.d d.c",
        starters="the a an he she it they we you i but and or in on at there this that these those "
        "his her its their our my your when where why what who how if so as then now yes no not "
        "did do does is was were are has have had for after before one some all every even only "
        "however meanwhile perhaps later once still while with from to",
        joints="and but or so because while when which that if then than",
        chapters="chapter part book prologue epilogue introduction preface foreword afterword",
    ),
    "de": _rules(
        titles="dr hr fr herrn prof dipl ing med phil jur rer nat hl st abb bzw bzgl ca d.h z.b "
        "u.a i.d.r z.t v.a o.ä u.ä s.o s.u m.e i.a vgl evtl ggf inkl exkl allg ehem gegr geb gest "
        "sog vs str jan feb mär apr jun jul aug sep sept okt nov dez mio mrd min max tel zzgl "
        "insb bes entspr d.i",
        numbered="nr s bd kap art abs ziff jh",
        enders="usw usf etc u.s.w ff co jh chr n.chr v.chr",
        starters="der die das ein eine er sie es wir ihr ich du und aber oder denn doch dann da "
        "dort hier so in im am an auf mit nach vor bei zu als wenn weil obwohl was wer wie wo "
        "warum wann nun jetzt dies diese dieser dieses sein seine ihre mein nicht kein keine ja "
        "nein man auch nur noch schon später danach",
        joints="und aber oder sondern denn weil dass wenn als während obwohl damit bevor nachdem",
        chapters="kapitel teil buch prolog epilog vorwort nachwort einleitung",
        ordinals=True,
        nouns_capital=True,
    ),
    "fr": _rules(
        titles="m mm mme mmes mlle mlles dr pr me mgr st ste cf p.ex ex env av apr boul bd "
        "janv févr avr juil sept oct nov déc c.-à-d",
        numbered="n no nos p pp vol fig art chap t éd",
        enders="etc cie j.-c al",
        starters="le la les un une des il elle ils elles on nous vous je tu ce cette ces c'est et "
        "mais ou donc car puis alors quand si dans sur à au aux en de du pour par avec où qui que "
        "son sa ses leur mon ma mes oui non ne",
        joints="et mais ou donc car que qui quand si puisque lorsque comme où parce",
        chapters="chapitre partie livre prologue épilogue préface introduction avant-propos",
    ),
    "es": _rules(
        titles="sr sra srta sres dr dra dres d dña don prof profa lic ing arq gral cap fr sto sta "
        "excmo av avda c pza p.ej ej vs aprox ee tel",
        numbered="núm nro n no pág págs p pp vol fig art cap ed t",
        enders="etc ud uds vd vds cía s.a uu ee.uu a.c d.c a.m p.m al",
        starters="el la los las un una él ella ellos ellas yo tú nosotros y pero o en de con por "
        "para a al del que se no sí su sus mi este esta esto ese esa cuando donde como si entonces "
        "luego después ahora hay",
        joints="y e pero o sino porque que cuando si aunque mientras donde como pues",
        chapters="capítulo parte libro prólogo epílogo introducción prefacio",
    ),
    "pt": _rules(
        titles="sr sra srta srs dr dra drs prof profa eng d dom st sto sta exmo exma av r al pça "
        "p.ex ex aprox tel gen cap",
        numbered="núm n no nº pág págs p pp vol fig art cap ed",
        enders="etc cia ltda s.a a.c d.c",
        starters="o a os as um uma ele ela eles elas eu nós e mas ou em no na de do da com por "
        "para ao à que se não sim seu sua meu este esta isto esse quando onde como então depois "
        "agora há",
        joints="e mas ou porque que quando se embora enquanto onde como pois",
        chapters="capítulo parte livro prólogo epílogo introdução prefácio",
    ),
    "it": _rules(
        titles="sig sigg sig.ra sig.na dott dott.ssa dr prof prof.ssa avv ing arch geom rag on sen "
        "gen col cap s ss mons p.es es ca cfr vs v",
        numbered="n nn num pag pagg p pp vol fig art cap ed",
        enders="ecc etc s.p.a s.r.l a.c d.c",
        starters="il lo la i gli le un una uno lui lei egli ella essi io noi voi e ma o in di del "
        "della con per a al che si non sì suo sua mio questo questa quello quando dove come se "
        "allora poi dopo ora c'è",
        joints="e ed ma o perché che quando se mentre dove come però poiché",
        chapters="capitolo parte libro prologo epilogo introduzione prefazione",
    ),
    "nl": _rules(
        titles="dhr mevr mw mej dr drs prof ir ing mr st ds bijv bv d.w.z o.a m.a.w t.a.v i.p.v "
        "i.v.m t.o.v a.u.b ca vgl resp incl excl jan feb mrt apr jun jul aug sep sept okt nov dec",
        numbered="nr blz p pp afb art hfst deel",
        enders="enz etc e.d e.a n.v b.v jl a.s n.chr v.chr",
        starters="de het een hij zij ze wij we ik jij je u en maar of want in op aan met van voor "
        "na bij naar toen dan daar hier dit dat deze die zijn haar mijn er niet ja nee wat wie "
        "waar wanneer waarom hoe als",
        joints="en maar of want omdat dat als wanneer terwijl toen zodat hoewel die",
        chapters="hoofdstuk deel boek proloog epiloog inleiding voorwoord",
    ),
    "da": _rules(
        titles="hr fr frk dr prof f.eks fx bl.a dvs ca evt inkl ekskl jf mht pga d.v.s o.lign "
        "kap st vedr jan feb mar apr jun jul aug sept okt nov dec",
        numbered="nr s bd fig art stk",
        enders="osv m.m m.v mv mm mfl m.fl o.l f.kr e.kr a/s kr",
        starters="den det de en et han hun vi jeg du i og men eller da så nu der her dette disse "
        "på med af for til ved efter hvis når hvor hvad hvem ja nej ikke",
        joints="og men eller fordi at som der når hvis mens da så",
        chapters="kapitel del bog prolog epilog forord indledning",
        ordinals=True,
    ),
    "no": _rules(
        titles="hr fr frk dr prof f.eks bl.a dvs ca evt inkl ekskl jf ift pga d.v.s st vedr jan "
        "feb mar apr jun jul aug sept okt nov des",
        numbered="nr s bd fig art kap",
        enders="osv m.m mv mfl m.fl o.l f.kr e.kr kr",
        starters="den det de en et ei han hun vi jeg du i og men eller da så nå der her dette "
        "disse på med av for til ved etter hvis når hvor hva hvem ja nei ikke",
        joints="og men eller fordi at som når hvis mens da så",
        chapters="kapittel del bok prolog epilog forord innledning",
        ordinals=True,
    ),
    "sv": _rules(
        titles="hr fr dr prof t.ex bl.a d.v.s dvs ca ev inkl exkl jfr p.g.a pga s.k st fig jan "
        "febr mars apr juni juli aug sept okt nov dec",
        numbered="nr s sid bd art kap",
        enders="osv o.s.v m.m mm m.fl e.d f.kr e.kr kr",
        starters="den det de en ett han hon vi jag du i och men eller då så nu där här detta dessa "
        "på med av för till vid efter om när var vad vem ja nej inte",
        joints="och men eller eftersom att som när om medan då så",
        chapters="kapitel del bok prolog epilog förord inledning",
    ),
    "fi": _rules(
        titles="hra rva nti tri tohtori prof esim ts ns mm n vrt eli ks ao em ent huom myöh puh "
        "til toim alk synt k kts t.s",
        numbered="nro no s luku kuva",
        enders="jne yms ym eaa jaa ekr jkr klo",
        starters="hän he se ne minä sinä me te ja mutta tai kun jos niin sitten nyt siellä täällä "
        "tämä nämä joka mikä missä kuka miksi kyllä ei myös vain",
        joints="ja mutta tai vaan koska että kun jos joka jotka kuin sekä",
        chapters="luku osa kirja prologi epilogi esipuhe johdanto",
        ordinals=True,
    ),
    "pl": _rules(
        titles="dr prof mgr inż hab ks św p pp płk gen kpt por al ul pl os np m.in tj tzn tzw ok "
        "ew im por wg zob cd dot godz jw śp",
        numbered="nr s str t tom rys art rozdz ust pkt poz",
        enders="itd itp r w n.e p.n.e zł tys mln mld in",
        starters="on ona ono oni one ja ty my wy i a ale lub w we na z ze do od po przy za to ten "
        "ta te kiedy gdy gdzie jak co kto czy więc potem teraz tak nie był była było",
        joints="i a ale lub oraz bo ponieważ że gdy kiedy jeśli który która które aby żeby",
        chapters="rozdział część księga prolog epilog wstęp przedmowa",
        ordinals=True,
    ),
    "tr": _rules(
        titles="dr prof doç yrd av sn müh mim op uzm alb gen yb bşk hz st cad sok mah apt bkz örn "
        "çev haz yak",
        numbered="no s c sayfa md böl şek",
        enders="vb vs vd a.ş ltd şti m.ö m.s",
        starters="bu o şu bir ben sen biz siz onlar ve ama fakat ancak çünkü eğer sonra şimdi "
        "burada orada ne kim nerede nasıl neden evet hayır her hiç",
        joints="ve ama fakat veya çünkü eğer ki ancak",
        chapters="bölüm kısım kitap önsöz sonsöz giriş",
        ordinals=True,
    ),
    "ru": _rules(
        titles="г-н г-жа гг проф акад доц д-р св им ул пр пл пер наб бул просп корп кв обл р-н "
        "пос дер ст см ср напр т.е т.н т.к т.о ок прим ред изд авт мин сек тов",
        numbered="д стр с рис табл гл ч п пп т тт № кн вып",
        enders="др пр т.д т.п г гг в вв н.э руб коп тыс млн млрд",
        starters="он она оно они я мы вы ты и а но или в во на с со к по от до за из у это этот "
        "эта эти тот там тут здесь когда где как что кто если потом теперь да нет не его её их",
        joints="и а но или что чтобы потому когда если который которая которые хотя где как",
        chapters="глава часть книга пролог эпилог введение предисловие",
    ),
    "el": _rules(
        titles="κ κα κος δρ καθ αγ π.χ δηλ βλ πρβλ λ.χ στρ λεωφ οδ τηλ",
        numbered="αρ σ σελ τόμ εικ κεφ άρθ",
        enders="κ.λπ κλπ κ.ά κ.τ.λ κτλ π.μ μ.μ π.χ. μ.χ",
        starters="ο η το οι τα ένας μια ένα αυτός αυτή αυτό εγώ εμείς και αλλά ή στο στη στην στον "
        "με από για σε όταν αν πού τι ποιος πώς τότε τώρα εκεί εδώ ναι όχι δεν θα",
        joints="και αλλά ή γιατί ότι όταν αν που ώστε ενώ επειδή",
        chapters="κεφάλαιο μέρος βιβλίο πρόλογος επίλογος εισαγωγή",
    ),
    "ms": _rules(
        titles="en pn dr prof dato tn hj sdr cth spt iaitu jln kg",
        numbered="no hlm ms bil jil rajah",
        enders="dll dsb dsbnya sdn bhd",
        starters="dia ia mereka saya kami kita anda dan tetapi atau di ke dari pada ini itu "
        "apabila jika kemudian sekarang ya tidak",
        joints="dan tetapi atau kerana yang apabila jika sambil bahawa",
        chapters="bab bahagian buku prolog epilog pendahuluan",
    ),
    "sw": _rules(
        titles="bw bi dkt prof mh mhe taz",
        numbered="na uk juz",
        enders="n.k k.m k.k",
        starters="yeye wao mimi sisi wewe na lakini au kwa katika hii hiyo hilo huyu huyo kisha "
        "sasa ndiyo hapana",
        joints="na lakini au kwa kwamba wakati kama ambaye",
        chapters="sura sehemu kitabu dibaji utangulizi",
    ),
    "hi": _rules(
        titles="डॉ डा श्री श्रीमती सुश्री प्रो पं कु मो रु जन फर अप्रै जु अग सित अक्टू नव दिस ई",
        numbered="सं क्र पृ",
        joints="और लेकिन या क्योंकि कि जब अगर तो मगर",
        chapters="अध्याय भाग खंड प्रस्तावना",
    ),
    "ar": _rules(
        titles="د أ م أ.د ص.ب ه ت",
        numbered="ص ج ط رقم",
        joints="لكن أو ثم لأن التي الذي عندما إذا حيث",
        chapters="الفصل فصل الباب الجزء مقدمة المقدمة خاتمة",
    ),
    "he": _rules(
        titles='ד"ר פרופ גב מר עו"ד רח שד',
        numbered="עמ מס כרך פרק",
        enders="וכו וגו",
        joints="אבל או כי אם אשר כאשר כש אך",
        chapters="פרק חלק ספר הקדמה מבוא",
    ),
    "ko": _rules(chapters="프롤로그 에필로그 머리말 서문"),
    "ja": _rules(chapters="プロローグ エピローグ 序章 終章 序文 まえがき あとがき"),
    "zh": _rules(chapters="序章 序言 前言 引言 楔子 尾声 后记 後記"),
}
PLAIN = SentenceRules()


def base_language(language: str | None) -> str | None:
    """Reduce a code to lower case without its country: "pt-BR" is "pt"."""
    return language.lower().replace("_", "-").split("-")[0] if language else None


def sentence_rules_for(language: str | None) -> SentenceRules:
    """The rules of a language code ("pt-br" is "pt"); for an unknown one, without abbreviations."""
    return RULES.get(base_language(language) or "en", PLAIN)
