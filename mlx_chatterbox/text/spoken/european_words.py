"""Words of German, French, Spanish, Italian, Portuguese and Dutch that CLDR's rules do not have.

Tables alone; `european.py` uses them. Abbreviations are written with their full stops;
a space within one may be missing in a text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..sentence_rules import word_set as _words


def _pairs(text: str) -> dict[str, str]:
    """ "Dr.=Doktor; Nr.=Nummer" as a dictionary."""
    return dict(pair.strip().rsplit("=", 1) for pair in text.split(";"))


@dataclass(frozen=True)
class Words:
    """The words of one language.

    Attributes:
        months: twelve names.
        of: the word between day, month and year: "12 de marzo de 2024".
        first: the first day of a month.
        dated: words before a day and a month in figures: "el 14/07".
        short: abbreviations that something follows; `last`: those that may end a sentence.
        numbered: abbreviations before a number.
        sizes: abbreviations of large numbers, one and many; `of_money`: between these and a sum.
        signs: of sums.
        fractions: the names of parts, one and many; `half`: a half; `and_half`: after a number.
        maths: signs between numbers.
        squared, cubed, power: of exponents, the last before a number.
        address: signs in addresses of mail and the web.
        feminine: units whose number is feminine.
        units: units that CLDR's table here lacks, as there: one and many, split by a slash.
        money, cents: sums and their hundredth parts, as `units`; `and_cents`: between both.
        times: words after an hour, or before it, that mark "8.30" as a time.
        headings: words before a Roman numeral that is a cardinal.
        kings: names before a Roman numeral that is an ordinal; `queens`: in the feminine.
        ordinals_to: the last ordinal of kings, later ones are cardinals; `the`: before them.
        after_roman: words after a Roman ordinal, masculine and feminine.
        sections: the word for §.
    """

    months: tuple[str, ...]
    of: str = " "
    first: str = ""
    dated: frozenset[str] = frozenset()
    short: dict[str, str] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    numbered: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)
    of_money: str = " "
    fractions: dict[int, str] = field(default_factory=dict)
    half: str = ""
    and_half: str = ""
    maths: dict[str, str] = field(default_factory=dict)
    squared: str = ""
    cubed: str = ""
    power: str = ""
    address: dict[str, str] = field(default_factory=dict)
    feminine: frozenset[str] = frozenset()
    units: dict[str, str] = field(default_factory=dict)
    money: dict[str, str] = field(default_factory=dict)
    cents: dict[str, str] = field(default_factory=dict)
    and_cents: str = " "
    times: tuple[str, ...] = ()
    headings: frozenset[str] = frozenset()
    kings: frozenset[str] = frozenset()
    queens: frozenset[str] = frozenset()
    ordinals_to: int = 0
    the: tuple[str, str] = ("", "")
    after_roman: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    sections: str = ""


_DE = Words(
    months=tuple(
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
    ),
    dated=_words("am vom zum bis dem ab seit der"),
    short=_pairs(
        "z. B.=zum Beispiel; d. h.=das heißt; u. a.=unter anderem; bzw.=beziehungsweise; "
        "ca.=circa; evtl.=eventuell; ggf.=gegebenenfalls; inkl.=inklusive; exkl.=exklusive; "
        "z. T.=zum Teil; i. d. R.=in der Regel; v. a.=vor allem; sog.=sogenannte; vgl.=vergleiche; "
        "Dr.=Doktor; Prof.=Professor; Hr.=Herr; Fr.=Frau; St.=Sankt; Dipl.-Ing.=Diplomingenieur; "
        "max.=maximal; min.=minimal; mind.=mindestens; gegr.=gegründet; geb.=geboren; "
        "bes.=besonders; o. Ä.=oder Ähnliches; u. Ä.=und Ähnliches"
    ),
    last=_pairs(
        "usw.=und so weiter; etc.=et cetera; usf.=und so fort; v. Chr.=vor Christus; "
        "n. Chr.=nach Christus; Jh.=Jahrhundert; Mio.=Millionen; Mrd.=Milliarden"
    ),
    numbered=_pairs(
        "Nr.=Nummer; S.=Seite; Kap.=Kapitel; Bd.=Band; Abs.=Absatz; Art.=Artikel; Abb.=Abbildung; "
        "Tab.=Tabelle; Tel.=Telefon; Str.=Straße"
    ),
    sizes=_pairs(
        "Mio.=Million/Millionen; Mio=Million/Millionen; Mrd.=Milliarde/Milliarden; "
        "Mrd=Milliarde/Milliarden; Tsd.=Tausend/Tausend; Bio.=Billion/Billionen"
    ),
    fractions={3: "Drittel", 4: "Viertel", 5: "Fünftel", 6: "Sechstel", 8: "Achtel", 10: "Zehntel"},
    half="ein halb",
    maths=_pairs("+=plus; ×=mal; *=mal; ÷=geteilt durch; /=durch; <=kleiner als; >=größer als; "
                 "≈=ungefähr; ±=plus minus; ≤=kleiner oder gleich; ≥=größer oder gleich; "
                 "≠=ungleich; ~=etwa; −=minus; -=minus") | {"=": "gleich"},
    squared="zum Quadrat", cubed="hoch drei", power="hoch",
    address=_pairs("@=at; .=Punkt; -=Strich; _=Unterstrich; /=Schrägstrich"),
    feminine=_words("Stunde Minute Sekunde Kilokalorie Tonne Kilowattstunde Million Milliarde "
    "Billion"),
    units=_pairs(
        "cl=Zentiliter; dl=Deziliter; t=Tonne/Tonnen; kWh=Kilowattstunde/Kilowattstunden; °=Grad; "
        "dB=Dezibel; m/s=Meter pro Sekunde; cm²=Quadratzentimeter; TB=Terabyte; kB=Kilobyte; "
        "KB=Kilobyte; Std.=Stunde/Stunden; Std=Stunde/Stunden; Min.=Minute/Minuten; "
        "Min=Minute/Minuten; Sek.=Sekunde/Sekunden; Sek=Sekunde/Sekunden; TL=Teelöffel; "
        "EL=Esslöffel; ‰=Promille; qm=Quadratmeter; mph=Meile pro Stunde/Meilen pro Stunde"
    ),
    money=_pairs("£=Pfund; ¥=Yen; CHF=Franken; EUR=Euro; USD=Dollar; GBP=Pfund"),
    cents=_pairs("€=Cent; EUR=Cent; $=Cent; USD=Cent; £=Pence; CHF=Rappen"),
    times=("Uhr",),
    headings=_words("Kapitel Band Teil Buch Akt Szene Abschnitt Artikel Tafel Klasse Typ"),
    kings=_words(
        "Ludwig Wilhelm Friedrich Karl Heinrich Otto Franz Joseph Georg Eduard Philipp Peter "
        "Alexander Nikolaus Napoleon Leopold Rudolf Maximilian Ferdinand Johannes Paul Pius "
        "Benedikt Leo Gregor Innozenz Konrad Jakob Richard Gustav Adolf Christian Charles"
    ),
    queens=_words("Elisabeth Katharina Margarethe Maria Elizabeth"),
    ordinals_to=99, the=("der ", "die "),
    sections="Paragraf",
)  # fmt: skip
_FR = Words(
    months=tuple(
        "janvier février mars avril mai juin juillet août septembre octobre novembre "
        "décembre".split()
    ),
    first="premier", dated=_words("le du au"),
    short=_pairs(
        "M.=Monsieur; MM.=Messieurs; Mme=Madame; Mmes=Mesdames; Mlle=Mademoiselle; Dr=docteur; "
        "Dr.=docteur; Pr=professeur; p. ex.=par exemple; c.-à-d.=c’est-à-dire; "
        "env.=environ; bd=boulevard; av.=avenue; cf.=confer; St-=Saint-; Ste-=Sainte-"
    ),
    last=_pairs("etc.=et cetera; av. J.-C.=avant Jésus-Christ; apr. J.-C.=après Jésus-Christ"),
    numbered=_pairs(
        "n°=numéro; nº=numéro; N°=numéro; p.=page; pp.=pages; chap.=chapitre; "
        "vol.=volume; art.=article; fig.=figure; tél.=téléphone; t.=tome"
    ),
    sizes=_pairs("M=million/millions; Md=milliard/milliards; Mds=milliard/milliards; "
                 "k=mille/mille; millions=million/millions; million=million/millions; "
                 "milliards=milliard/milliards; milliard=milliard/milliards"),
    of_money=" d’",
    fractions={3: "tiers/tiers", 4: "quart/quarts", 5: "cinquième/cinquièmes",
               6: "sixième/sixièmes", 8: "huitième/huitièmes", 10: "dixième/dixièmes"},
    half="un demi", and_half=" et demi",
    maths=_pairs("+=plus; ×=fois; *=fois; ÷=divisé par; /=sur; <=inférieur à; >=supérieur à; "
                 "≈=environ; ±=plus ou moins; ≤=inférieur ou égal à; ≥=supérieur ou égal à; "
                 "≠=différent de; ~=environ; −=moins; -=moins") | {"=": "égale"},
    squared="au carré", cubed="au cube", power="puissance",
    address=_pairs("@=arobase; .=point; -=tiret; _=tiret bas; /=barre oblique"),
    feminine=_words("heure minute seconde kilocalorie livre tonne roupie once"),
    units=_pairs(
        "cl=centilitre/centilitres; dl=décilitre/décilitres; t=tonne/tonnes; "
        "kWh=kilowattheure/kilowattheures; °=degré/degrés; dB=décibel/décibels; "
        "m/s=mètre par seconde/mètres par seconde; cm²=centimètre carré/centimètres carrés; "
        "Go=gigaoctet/gigaoctets; Mo=mégaoctet/mégaoctets; Ko=kilooctet/kilooctets; "
        "To=téraoctet/téraoctets; ‰=pour mille; mn=minute/minutes"
    ),
    money=_pairs("£=livre/livres; ¥=yen/yens; CHF=franc suisse/francs suisses; EUR=euro/euros; "
                 "USD=dollar/dollars; GBP=livre/livres"),
    cents=_pairs("€=centime/centimes; EUR=centime/centimes; $=cent/cents; USD=cent/cents; "
                 "£=penny/pence; CHF=centime/centimes"),
    headings=_words("chapitre chapitres tome volume partie livre acte scène article titre phase "
    "type "
                    "annexe section leçon niveau"),
    kings=_words(
        "Louis Charles Henri François Napoléon Philippe Édouard Edouard Georges Guillaume Frédéric "
        "Pierre Nicolas Alexandre Jean Paul Jean-Paul Benoît Pie Léon Jacques Albert Léopold "
        "Baudouin Robert Clovis Grégoire Innocent Clément Urbain Ferdinand Alphonse Ramsès Ptolémée"
    ),
    queens=_words("Élisabeth Elisabeth Catherine Marie Isabelle Marguerite"),
    ordinals_to=1,
    after_roman=(_words("siècle siècles arrondissement"), _words("République Guerre dynastie")),
    sections="paragraphe",
)  # fmt: skip
_ES = Words(
    months=tuple(
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
        "diciembre".split()
    ),
    of=" de ", first="uno", dated=_words("el del al"),
    short=_pairs(
        "Sr.=señor; Sra.=señora; Srta.=señorita; Sres.=señores; Dr.=doctor; Dra.=doctora; "
        "D.=don; Dña.=doña; Ud.=usted; Uds.=ustedes; Prof.=profesor; Avda.=avenida; Av.=avenida; "
        "C/=calle; p. ej.=por ejemplo; Por ej.=por ejemplo; por ej.=por ejemplo; "
        "aprox.=aproximadamente; Gral.=general; Sto.=Santo; Sta.=Santa; Dpto.=departamento"
    ),
    last=_pairs(
        "etc.=etcétera; EE. UU.=Estados Unidos; a. C.=antes de Cristo; d. C.=después de Cristo; "
        "EE.UU=Estados Unidos"
    ),
    numbered=_pairs(
        "n.º=número; nº=número; N.º=número; Nº=número; n°=número; núm.=número; pág.=página; "
        "págs.=páginas; p.=página; cap.=capítulo; vol.=volumen; art.=artículo; fig.=figura; "
        "tel.=teléfono; Tel.=teléfono; t.=tomo"
    ),
    sizes=_pairs("M=millón/millones; mill.=millón/millones; millones=millón/millones; "
                 "millón=millón/millones; mil=mil/mil"),
    of_money=" de ",
    fractions={3: "tercio/tercios", 4: "cuarto/cuartos", 5: "quinto/quintos",
               6: "sexto/sextos", 8: "octavo/octavos", 10: "décimo/décimos"},
    half="medio", and_half=" y medio",
    maths=_pairs("+=más; ×=por; *=por; ÷=entre; /=partido por; <=menor que; >=mayor que; "
                 "≈=aproximadamente; ±=más o menos; ≤=menor o igual que; ≥=mayor o igual que; "
                 "≠=distinto de; ~=unos; −=menos; -=menos") | {"=": "igual a"},
    squared="al cuadrado", cubed="al cubo", power="elevado a",
    address=_pairs("@=arroba; .=punto; -=guion; _=guion bajo; /=barra"),
    feminine=_words("hora libra hectárea kilocaloría tonelada rupia onza milla"),
    units=_pairs(
        "cl=centilitro/centilitros; dl=decilitro/decilitros; t=tonelada/toneladas; "
        "kWh=kilovatio hora/kilovatios hora; °=grado/grados; dB=decibelio/decibelios; "
        "m/s=metro por segundo/metros por segundo; cm²=centímetro cuadrado/centímetros cuadrados; "
        "TB=terabyte/terabytes; KB=kilobyte/kilobytes; ‰=por mil; seg=segundo/segundos; "
        "hs=hora/horas; Km=kilómetro/kilómetros"
    ),
    money=_pairs("£=libra/libras; ¥=yen/yenes; CHF=franco suizo/francos suizos; EUR=euro/euros; "
                 "USD=dólar/dólares; GBP=libra/libras"),
    cents=_pairs("€=céntimo/céntimos; EUR=céntimo/céntimos; $=centavo/centavos; "
                 "USD=centavo/centavos; £=penique/peniques"),
    and_cents=" con ",
    headings=_words("siglo siglos capítulo capítulos tomo volumen parte libro acto escena artículo "
                    "título fase tipo anexo sección lección nivel"),
    kings=_words(
        "Felipe Alfonso Carlos Fernando Juan Enrique Pedro Luis Jaime Sancho Ramiro Napoleón Pablo "
        "Pío Benedicto León Guillermo Jorge Eduardo Nicolás Alejandro Federico Ramsés Gregorio "
        "Inocencio Clemente Urbano Ricardo Ptolomeo"
    ),
    queens=_words("Isabel Catalina María Margarita"),
    ordinals_to=10,
    after_roman=(_words("Congreso"), _words("Guerra República Dinastía edición Edición")),
    sections="párrafo",
)  # fmt: skip
_IT = Words(
    months=tuple(
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
        "dicembre".split()
    ),
    first="primo", dated=_words("il del al dal"),
    short=_pairs(
        "sig.=signor; Sig.=Signor; sig.ra=signora; Sig.ra=Signora; sig.na=signorina; "
        "sigg.=signori; dott.=dottor; Dott.=Dottor; dott.ssa=dottoressa; Dott.ssa=Dottoressa; "
        "dr.=dottor; Dr.=Dottor; prof.=professor; Prof.=Professor; prof.ssa=professoressa; "
        "Prof.ssa=Professoressa; ing.=ingegner; avv.=avvocato; on.=onorevole; "
        "p. es.=per esempio; ad es.=ad esempio; ca.=circa; mons.=monsignor"
    ),
    last=_pairs("ecc.=eccetera; etc.=eccetera; a.C.=avanti Cristo; d.C.=dopo Cristo; "
                "a. C.=avanti Cristo; d. C.=dopo Cristo"),
    numbered=_pairs(
        "n.=numero; n°=numero; N.=numero; pag.=pagina; pagg.=pagine; p.=pagina; pp.=pagine; "
        "cap.=capitolo; vol.=volume; art.=articolo; fig.=figura; tel.=telefono; Tel.=telefono"
    ),
    sizes=_pairs("mln=milione/milioni; mld=miliardo/miliardi; mln.=milione/milioni; "
                 "mld.=miliardo/miliardi; milioni=milione/milioni; milione=milione/milioni; "
                 "miliardi=miliardo/miliardi; miliardo=miliardo/miliardi"),
    of_money=" di ",
    fractions={3: "terzo/terzi", 4: "quarto/quarti", 5: "quinto/quinti", 6: "sesto/sesti",
               8: "ottavo/ottavi", 10: "decimo/decimi"},
    half="mezzo", and_half=" e mezzo",
    maths=_pairs("+=più; ×=per; *=per; ÷=diviso; /=su; <=minore di; >=maggiore di; ≈=circa; "
                 "±=più o meno; ≤=minore o uguale a; ≥=maggiore o uguale a; ≠=diverso da; "
                 "~=circa; −=meno; -=meno") | {"=": "uguale a"},
    squared="al quadrato", cubed="al cubo", power="elevato a",
    address=_pairs("@=chiocciola; .=punto; -=trattino; _=trattino basso; /=barra"),
    feminine=_words("ora chilocaloria sterlina rupia tonnellata oncia"),
    units=_pairs(
        "cl=centilitro/centilitri; dl=decilitro/decilitri; t=tonnellata/tonnellate; "
        "kWh=chilowattora; °=grado/gradi; dB=decibel; m/s=metro al secondo/metri al secondo; "
        "cm²=centimetro quadrato/centimetri quadrati; TB=terabyte; KB=kilobyte; ‰=per mille; "
        "sec=secondo/secondi; mq=metro quadrato/metri quadrati; Km=chilometro/chilometri"
    ),
    money=_pairs("£=sterlina/sterline; ¥=yen; CHF=franco svizzero/franchi svizzeri; EUR=euro; "
                 "USD=dollaro/dollari; GBP=sterlina/sterline"),
    cents=_pairs("€=centesimo/centesimi; EUR=centesimo/centesimi; $=centesimo/centesimi; "
                 "USD=centesimo/centesimi; £=penny/pence"),
    and_cents=" e ",
    times=("ore", "alle", "dalle"),
    headings=_words("capitolo capitoli tomo volume parte libro atto scena articolo titolo fase "
    "tipo "
                    "allegato sezione lezione livello"),
    kings=_words(
        "Vittorio Emanuele Umberto Carlo Luigi Enrico Federico Pio Leone Benedetto Giovanni Paolo "
        "Napoleone Filippo Ferdinando Francesco Pietro Nicola Alessandro Guglielmo Giorgio Edoardo "
        "Giulio Clemente Innocenzo Gregorio Bonifacio Urbano Sisto Amedeo Ramses Riccardo Cosimo"
    ),
    queens=_words("Elisabetta Caterina Maria Isabella Margherita Giovanna"),
    ordinals_to=99,
    after_roman=(_words("secolo congresso"), _words("guerra Guerra repubblica edizione dinastia")),
    sections="paragrafo",
)  # fmt: skip
_PT = Words(
    months=tuple(
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
        "dezembro".split()
    ),
    of=" de ", first="primeiro", dated=_words("em no dia do ao até"),
    short=_pairs(
        "Sr.=senhor; Sra.=senhora; Srta.=senhorita; Srs.=senhores; Dr.=doutor; Dra.=doutora; "
        "D.=Dom; Prof.=professor; Profa.=professora; Av.=avenida; p. ex.=por exemplo; "
        "aprox.=aproximadamente; Sto.=Santo; Sta.=Santa; Eng.=engenheiro; Exmo.=excelentíssimo"
    ),
    last=_pairs("etc.=et cetera; a.C.=antes de Cristo; d.C.=depois de Cristo; "
                "a. C.=antes de Cristo; d. C.=depois de Cristo"),
    numbered=_pairs(
        "n.º=número; nº=número; N.º=número; Nº=número; n°=número; pág.=página; págs.=páginas; "
        "p.=página; cap.=capítulo; vol.=volume; art.=artigo; fig.=figura; tel.=telefone; "
        "Tel.=telefone; t.=tomo"
    ),
    sizes=_pairs("mi=milhão/milhões; bi=bilhão/bilhões; milhões=milhão/milhões; "
                 "milhão=milhão/milhões; bilhões=bilhão/bilhões; bilhão=bilhão/bilhões; "
                 "mil=mil/mil"),
    of_money=" de ",
    fractions={3: "terço/terços", 4: "quarto/quartos", 5: "quinto/quintos", 6: "sexto/sextos",
               8: "oitavo/oitavos", 10: "décimo/décimos"},
    half="meio", and_half=" e meio",
    maths=_pairs("+=mais; ×=vezes; *=vezes; ÷=dividido por; /=sobre; <=menor que; >=maior que; "
                 "≈=aproximadamente; ±=mais ou menos; ≤=menor ou igual a; ≥=maior ou igual a; "
                 "≠=diferente de; ~=cerca de; −=menos; -=menos") | {"=": "igual a"},
    squared="ao quadrado", cubed="ao cubo", power="elevado a",
    address=_pairs("@=arroba; .=ponto; -=hífen; _=sublinhado; /=barra"),
    feminine=_words("hora libra quilocaloria rupia tonelada onça milha"),
    units=_pairs(
        "cl=centilitro/centilitros; dl=decilitro/decilitros; t=tonelada/toneladas; "
        "kWh=quilowatt-hora/quilowatts-hora; °=grau/graus; dB=decibel/decibéis; "
        "m/s=metro por segundo/metros por segundo; cm²=centímetro quadrado/centímetros quadrados; "
        "TB=terabyte/terabytes; KB=kilobyte/kilobytes; ‰=por mil; seg=segundo/segundos"
    ),
    money=_pairs("£=libra/libras; ¥=iene/ienes; R$=real/reais; CHF=franco suíço/francos suíços; "
                 "EUR=euro/euros; USD=dólar/dólares; GBP=libra/libras; BRL=real/reais"),
    cents=_pairs("€=cêntimo/cêntimos; EUR=cêntimo/cêntimos; $=centavo/centavos; "
                 "R$=centavo/centavos; USD=centavo/centavos; £=pêni/pence"),
    and_cents=" e ",
    headings=_words("século séculos capítulo capítulos tomo volume parte livro ato cena artigo "
                    "título fase tipo anexo seção secção lição nível"),
    kings=_words(
        "Pedro João Manuel Afonso Luís Henrique Carlos Filipe Sancho Dinis Fernando Bento Pio Leão "
        "Napoleão Jorge Eduardo Paulo José Miguel Duarte Guilherme Frederico Nicolau Alexandre "
        "Gregório Inocêncio Ramsés Ricardo"
    ),
    queens=_words("Isabel Maria Catarina Elizabeth Margarida"),
    ordinals_to=10,
    after_roman=(_words("Congresso"), _words("Guerra República Dinastia edição")),
    sections="parágrafo",
)  # fmt: skip
_NL = Words(
    months=tuple(
        "januari februari maart april mei juni juli augustus september oktober november "
        "december".split()
    ),
    dated=_words("op van tot vanaf sinds"),
    short=_pairs(
        "dhr.=de heer; Dhr.=De heer; mevr.=mevrouw; Mevr.=Mevrouw; mw.=mevrouw; Mw.=Mevrouw; "
        "dr.=doctor; Dr.=Doctor; drs.=doctorandus; prof.=professor; Prof.=Professor; "
        "mr.=meester; ir.=ingenieur; ing.=ingenieur; ds.=dominee; bijv.=bijvoorbeeld; "
        "bv.=bijvoorbeeld; d.w.z.=dat wil zeggen; o.a.=onder andere; m.a.w.=met andere woorden; "
        "t/m=tot en met; i.p.v.=in plaats van; a.u.b.=alstublieft; m.b.t.=met betrekking tot; "
        "ca.=circa; evt.=eventueel; incl.=inclusief; excl.=exclusief; max.=maximaal; "
        "min.=minimaal; resp.=respectievelijk; t.o.v.=ten opzichte van; i.v.m.=in verband met; "
        "n.a.v.=naar aanleiding van; o.l.v.=onder leiding van; z.g.=zogenaamd; zgn.=zogenaamd; "
        "vgl.=vergelijk"
    ),
    last=_pairs("enz.=enzovoort; etc.=et cetera; e.d.=en dergelijke; v.Chr.=voor Christus; "
                "n.Chr.=na Christus; v. Chr.=voor Christus; n. Chr.=na Christus"),
    numbered=_pairs("nr.=nummer; Nr.=nummer; nrs.=nummers; blz.=bladzijde; p.=pagina; "
                    "hfst.=hoofdstuk; art.=artikel; fig.=figuur; tel.=telefoon; Tel.=telefoon; "
                    "dl.=deel; afb.=afbeelding"),
    sizes=_pairs("mln.=miljoen/miljoen; mln=miljoen/miljoen; mld.=miljard/miljard; "
                 "mld=miljard/miljard; miljoen=miljoen/miljoen; miljard=miljard/miljard"),
    fractions={3: "derde", 4: "kwart", 5: "vijfde", 6: "zesde", 8: "achtste", 10: "tiende"},
    half="een half",
    maths=_pairs("+=plus; ×=keer; *=keer; ÷=gedeeld door; /=gedeeld door; <=kleiner dan; "
                 ">=groter dan; ≈=ongeveer; ±=plus of min; ≤=kleiner dan of gelijk aan; "
                 "≥=groter dan of gelijk aan; ≠=niet gelijk aan; ~=ongeveer; −=min; -=min")
    | {"=": "is"},
    squared="in het kwadraat", cubed="tot de derde", power="tot de macht",
    address=_pairs("@=apenstaartje; .=punt; -=streepje; _=laag streepje; /=schuine streep"),
    units=_pairs(
        "cl=centiliter; dl=deciliter; t=ton; kWh=kilowattuur; °=graad/graden; dB=decibel; "
        "m/s=meter per seconde; cm²=vierkante centimeter; TB=terabyte; KB=kilobyte; ‰=promille; "
        "km/u=kilometer per uur; sec=seconde/seconden"
    ),
    money=_pairs("£=pond; ¥=yen; CHF=Zwitserse frank; EUR=euro; USD=dollar; GBP=pond"),
    cents=_pairs("€=cent; EUR=cent; $=cent; USD=cent; £=pence"),
    times=("uur",),
    headings=_words("hoofdstuk deel boek akte scène artikel fase type bijlage klasse"),
    kings=_words(
        "Lodewijk Willem Karel Hendrik Filips Frederik Napoleon Pius Leo Paulus Johannes George "
        "Eduard Leopold Albert Boudewijn Peter Nicolaas Alexander Gregorius Innocentius Philips"
    ),
    queens=_words("Elizabeth Catharina Maria Margaretha"),
    ordinals_to=99, the=("de ", "de "),
    after_roman=(_words("eeuw"), _words("wereldoorlog")),
    sections="paragraaf",
)  # fmt: skip
WORDS = {"de": _DE, "fr": _FR, "es": _ES, "it": _IT, "pt": _PT, "nl": _NL}
