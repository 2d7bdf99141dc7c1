"""Names of currencies, by their signs, codes and abbreviations before and after sums."""

from __future__ import annotations

# Name, names, hundredth part, parts; "" where no parts are counted.
Names = tuple[str, str, str, str]


def _dollars(of: str = "") -> Names:
    return f"{of} dollar".strip(), f"{of} dollars".strip(), "cent", "cents"


def _plain(name: str, names: str | None = None, part: str = "", parts: str | None = None) -> Names:
    return name, names or f"{name}s", part, parts or (f"{part}s" if part else "")


_POUND = ("pound", "pounds", "penny", "pence")
_RUPEE = ("rupee", "rupees", "paisa", "paise")
_KRONE = _plain("krone", "kroner", "øre", "øre")
_KRONA = _plain("krona", "kronor", "öre", "öre")
_KORUNA = _plain("koruna", None, "haler")
_ZLOTY = _plain("zloty", None, "grosz", "groszy")
_FRANC = _plain("franc", None, "centime")
_SWISS = _plain("Swiss franc", None, "centime")
_REAL = _plain("real", "reais", "centavo")
_PESO = _plain("peso", None, "centavo")
_YEN = ("yen", "yen", "sen", "sen")
_YUAN = ("yuan", "yuan", "fen", "fen")
_RAND = _plain("rand", "rand", "cent")
_MARK = _plain("mark", None, "pfennig", "pfennigs")
_RINGGIT = _plain("ringgit", "ringgit", "sen", "sen")
_RUBLE = _plain("ruble", None, "kopeck")
_BITCOIN = _plain("bitcoin")

SIGNS: dict[str, Names] = {
    "$": _dollars(), "£": _POUND, "€": _plain("euro", None, "cent"), "¥": _YEN, "￥": _YEN,
    "₹": _RUPEE, "₨": _RUPEE, "₽": _RUBLE, "₩": _plain("won", "won", "jeon", "jeon"),
    "₪": _plain("shekel", None, "agora", "agorot"), "₺": _plain("lira", "lira", "kurus", "kurus"),
    "₴": _plain("hryvnia", None, "kopeck"), "₫": _plain("dong", "dong", "xu", "xu"),
    "₱": _PESO, "₦": _plain("naira", "naira", "kobo", "kobo"), "₿": _BITCOIN,
    "฿": _plain("baht", "baht", "satang", "satang"), "₵": _plain("cedi", None, "pesewa"),
    "₡": _plain("colon", "colones", "centimo"), "₲": _plain("guarani"),
    "₸": _plain("tenge", "tenge"),
    "₾": _plain("lari", "lari", "tetri", "tetri"), "₼": _plain("manat", "manat"),
    "৳": _plain("taka", "taka"), "₭": _plain("kip", "kip"), "₮": _plain("tugrik"),
    "֏": _plain("dram"), "៛": _plain("riel"), "₣": _FRANC, "₤": _POUND,
}  # fmt: skip
_OF_DOLLARS = {
    "US": "U S", "AU": "Australian", "A": "Australian", "CA": "Canadian", "C": "Canadian",
    "CAD": "Canadian", "Can": "Canadian", "CDN": "Canadian", "NZ": "New Zealand", "HK": "Hong Kong",
    "S": "Singapore", "SG": "Singapore", "NT": "New Taiwan", "TW": "Taiwan", "J": "Jamaican",
    "TT": "Trinidad and Tobago", "BZ": "Belize", "Bds": "Barbados", "EC": "East Caribbean",
    "Z": "Zimbabwe", "N": "Namibian", "FJ": "Fijian",
}  # fmt: skip
# Before a sum.
BEFORE: dict[str, Names] = {
    **{f"{land}$": _dollars(name) for land, name in _OF_DOLLARS.items()},
    "R$": _REAL, "Mex$": _plain("Mexican peso", None, "centavo"),
    "MX$": _plain("Mexican peso", None, "centavo"), "CN¥": _YUAN, "JP¥": _YEN, "GH₵": SIGNS["₵"],
    "GH¢": SIGNS["₵"], "IR£": _plain("Irish pound", None, "penny", "pence"),
    "E£": _plain("Egyptian pound", None, "piastre"),
    "Rs.": _RUPEE, "Rs": _RUPEE, "Rp.": _plain("rupiah", "rupiah"),
    "Rp": _plain("rupiah", "rupiah"), "kr.": _KRONE, "kr": _KRONE, "Kr.": _KRONE, "Kr": _KRONE,
    "sFr.": _SWISS, "sFr": _SWISS, "SFr.": _SWISS, "SFr": _SWISS, "sfr.": _SWISS, "Fr.": _FRANC,
    "Frs.": _FRANC, "RM": _RINGGIT, "R": _RAND, "DM": _MARK, "FF": _FRANC, "BF": _FRANC,
    "Php": _PESO, "Ksh": _plain("shilling"), "KSh": _plain("shilling"), "Ksh.": _plain("shilling"),
    "KSh.": _plain("shilling"), "USh": _plain("shilling"), "TSh": _plain("shilling"),
    "Tk.": _plain("taka", "taka"), "Tk": _plain("taka", "taka"),
    "Kč": _KORUNA, "zł": _ZLOTY, "Bs.": _plain("boliviano"),
    "Dhs.": _plain("dirham"), "Dhs": _plain("dirham"), "Dh": _plain("dirham"),
    "S/.": _plain("sol", "soles"),
}  # fmt: skip
# Before a sum and after it.
CODES: dict[str, Names] = {
    "USD": _dollars(), "EUR": SIGNS["€"], "GBP": _POUND, "JPY": _YEN, "CNY": _YUAN, "RMB": _YUAN,
    "AUD": _dollars("Australian"), "CAD": _dollars("Canadian"), "NZD": _dollars("New Zealand"),
    "HKD": _dollars("Hong Kong"), "SGD": _dollars("Singapore"), "TWD": _dollars("Taiwan"),
    "CHF": _SWISS, "INR": _RUPEE, "PKR": _RUPEE, "LKR": _RUPEE, "NPR": _RUPEE,
    "BTC": _BITCOIN, "XBT": _BITCOIN, "ETH": _plain("ether", "ether"), "SEK": _KRONA,
    "NOK": _KRONE, "DKK": _KRONE, "ISK": _plain("krona", "kronur"), "PLN": _ZLOTY, "CZK": _KORUNA,
    "HUF": _plain("forint"), "RON": _plain("leu", "lei"), "BGN": _plain("lev", "leva"),
    "TRY": SIGNS["₺"], "ILS": SIGNS["₪"], "NIS": SIGNS["₪"], "RUB": _RUBLE, "UAH": SIGNS["₴"],
    "MXN": _plain("Mexican peso", None, "centavo"), "BRL": _REAL, "ARS": _PESO, "CLP": _PESO,
    "COP": _PESO, "PEN": _plain("sol", "soles"), "ZAR": _RAND, "NGN": SIGNS["₦"],
    "KES": _plain("shilling"), "UGX": _plain("shilling"), "TZS": _plain("shilling"),
    "EGP": _plain("Egyptian pound", None, "piastre"), "GHS": SIGNS["₵"], "AED": _plain("dirham"),
    "MAD": _plain("dirham"), "SAR": _plain("riyal"), "QAR": _plain("riyal"),
    "KWD": _plain("dinar"), "JOD": _plain("dinar"), "KRW": SIGNS["₩"], "THB": SIGNS["฿"],
    "VND": SIGNS["₫"], "MYR": _RINGGIT, "IDR": _plain("rupiah", "rupiah"), "PHP": _PESO,
    "BDT": SIGNS["৳"], "DEM": _MARK, "FRF": _FRANC, "ITL": _plain("lira", "lire"),
}  # fmt: skip
# After a sum, besides.
AFTER: dict[str, Names] = {
    "kr.": _KRONE, "kr": _KRONE, "zł": _ZLOTY, "Kč": _KORUNA, "Ft": _plain("forint"),
    "DM": _MARK, "FF": _FRANC, "fr.": _FRANC, "frs.": _FRANC, "frs": _FRANC, "Fr.": _FRANC,
    "Frs.": _FRANC, "sFr.": _SWISS, "sFr": _SWISS, "лв": _plain("lev", "leva"),
    "руб.": _RUBLE, "RMB": _YUAN, "gns.": _plain("guinea"), "gns": _plain("guinea"),
    "TL": SIGNS["₺"],
}  # fmt: skip
# Where a point before three digits groups thousands: 20.000 ₫.
GROUPED_BY_POINTS = frozenset("₫ € Rp Rp. kr kr. zł Kč Ft ₺ TL DM VND IDR EUR DKK HUF ₲ ₡".split())
# Codes that are words, programs or meetings, too: no small sum stands next to them.
WORD_LIKE = frozenset("COP PEN RON MAD TRY PHP Php ETH NIS TL FF BF SAR Tk".split())
