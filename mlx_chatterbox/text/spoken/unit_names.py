"""Names of units and their plurals, by the symbols that stand after numbers."""

from __future__ import annotations

# Symbol: name, and names where they are not the name with an s.
_NAMES = {
    "km": "kilometer", "m": "meter", "dm": "decimeter", "cm": "centimeter", "mm": "millimeter",
    "µm": "micrometer", "nm": "nanometer", "mi": "mile",
    "yd": "yard", "yds": "yard", "ft": "foot/feet", "in": "inch/inches", "kg": "kilogram",
    "kgs": "kilogram", "g": "gram", "mg": "milligram", "µg": "microgram", "mcg": "microgram",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "t": "ton", "L": "liter", "l": "liter",
    "ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "dl": "deciliter",
    "gal": "gallon", "qt": "quart", "tbsp": "tablespoon", "tsp": "teaspoon",
    "s": "second", "sec": "second", "secs": "second", "ms": "millisecond", "µs": "microsecond",
    "ns": "nanosecond", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour",
    "hrs": "hour", "yr": "year", "yrs": "year", "wk": "week", "wks": "week", "mo": "month",
    "mos": "month",
    "km/h": "kilometer per hour/kilometers per hour",
    "kmh": "kilometer per hour/kilometers per hour",
    "kph": "kilometer per hour/kilometers per hour", "mph": "mile per hour/miles per hour",
    "mi/h": "mile per hour/miles per hour",
    "mpg": "mile per gallon/miles per gallon", "m/s": "meter per second/meters per second",
    "m/s²": "meter per second squared/meters per second squared",
    "m/s^2": "meter per second squared/meters per second squared",
    "fps": "frame per second/frames per second", "rpm": "R P M/R P M", "bpm": "B P M/B P M",
    "dpi": "D P I/D P I", "ppm": "part per million/parts per million", "Hz": "hertz/hertz",
    "kHz": "kilohertz/kilohertz", "MHz": "megahertz/megahertz", "GHz": "gigahertz/gigahertz",
    "THz": "terahertz/terahertz", "W": "watt", "kW": "kilowatt", "MW": "megawatt",
    "GW": "gigawatt", "TW": "terawatt", "mW": "milliwatt", "Wh": "watt hour",
    "kWh": "kilowatt hour", "MWh": "megawatt hour", "GWh": "gigawatt hour",
    "hp": "horsepower/horsepower",
    "V": "volt", "mV": "millivolt", "kV": "kilovolt", "A": "amp", "mA": "milliamp",
    "mAh": "milliamp hour", "Ah": "amp hour", "Ω": "ohm", "kΩ": "kiloohm", "MΩ": "megaohm",
    "J": "joule", "kJ": "kilojoule", "MJ": "megajoule", "cal": "calorie", "kcal": "kilocalorie",
    "µL": "microliter", "µl": "microliter", "nL": "nanoliter",
    "µM": "micromolar/micromolar",
    "mM": "millimolar/millimolar", "nM": "nanomolar/nanomolar", "µmol": "micromole",
    "mmol": "millimole", "nmol": "nanomole",
    "ft-lb": "foot pound", "ft-lbs": "foot pound", "ft·lb": "foot pound", "ft lb": "foot pound",
    "ft-lbf": "foot pound", "lb-ft": "pound foot/pound feet", "lb·ft": "pound foot/pound feet",
    "in-lb": "inch pound", "in-lbs": "inch pound", "N·m": "newton meter", "N-m": "newton meter",
    "N": "newton", "kN": "kilonewton", "Nm": "newton meter", "Pa": "pascal",
    "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal", "psi": "P S I/P S I",
    "atm": "atmosphere", "mbar": "millibar", "dB": "decibel", "lm": "lumen",
    "lx": "lux/lux", "mol": "mole", "eV": "electron volt", "keV": "kiloelectron volt",
    "MeV": "megaelectron volt", "ly": "light year", "AU": "astronomical unit",
    "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte",
    "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte", "MiB": "mebibyte",
    "GiB": "gibibyte", "Kb": "kilobit", "kb": "kilobit", "Mb": "megabit", "Gb": "gigabit",
    "kbit": "kilobit", "Kbit": "kilobit", "Mbit": "megabit", "Gbit": "gigabit", "Tbit": "terabit",
    "kbps": "kilobit per second/kilobits per second",
    "Kbps": "kilobit per second/kilobits per second",
    "Mbps": "megabit per second/megabits per second",
    "Gbps": "gigabit per second/gigabits per second",
    "MB/s": "megabyte per second/megabytes per second",
    "GB/s": "gigabyte per second/gigabytes per second",
    "px": "pixel", "MP": "megapixel", "ha": "hectare",
    "fl oz": "fluid ounce", "st": "stone/stone", "pp": "percentage point",
    "µF": "microfarad", "nF": "nanofarad", "pF": "picofarad", "mF": "millifarad", "µA": "microamp",
    "µV": "microvolt", "mmHg": "millimeter of mercury/millimeters of mercury",
    "mSv": "millisievert",
    "µSv": "microsievert", "nmi": "nautical mile", "kt": "knot", "kts": "knot", "bbl": "barrel",
    "bps": "basis point",
    "fl. oz.": "fluid ounce", "cc": "C C/C C",
    "°C": "degree Celsius/degrees Celsius", "° C": "degree Celsius/degrees Celsius",
    "℃": "degree Celsius/degrees Celsius", "ºC": "degree Celsius/degrees Celsius",
    "°F": "degree Fahrenheit/degrees Fahrenheit", "° F": "degree Fahrenheit/degrees Fahrenheit",
    "℉": "degree Fahrenheit/degrees Fahrenheit", "ºF": "degree Fahrenheit/degrees Fahrenheit",
    "°K": "kelvin", "C": "degree Celsius/degrees Celsius",
    "F": "degree Fahrenheit/degrees Fahrenheit", "°": "degree", "º": "degree", "K": "kelvin",
    "′": "minute", "″": "second",
    "%": "percent/percent", "％": "percent/percent", "‰": "per mille/per mille",
    "pct": "percent/percent",
}  # fmt: skip
_RAISED = {"²": "square", "^2": "square", "2": "square", "³": "cubic", "^3": "cubic", "3": "cubic"}
_AREAS = ("km", "dm", "cm", "mm", "m", "mi", "ft", "in", "yd")


def _forms(symbol: str) -> tuple[str, str]:
    name, slash, names = _NAMES[symbol].partition("/")
    return name, names if slash else f"{name}s"


def _table() -> dict[str, tuple[str, str]]:
    table = {symbol: _forms(symbol) for symbol in _NAMES}
    for symbol in _AREAS:
        name, names = _forms(symbol)
        for raised, word in _RAISED.items():
            if raised.isdigit() and symbol in ("in", "mi"):
                continue
            table[symbol + raised] = (f"{word} {name}", f"{word} {names}")
        for square, word in (
            ("sq", "square"),
            ("sq.", "square"),
            ("cu", "cubic"),
            ("cu.", "cubic"),
        ):
            for stop in ("", ".") if square.endswith(".") else ("",):
                table[f"{square} {symbol}{stop}"] = (f"{word} {name}", f"{word} {names}")
    # The micro sign and the Greek letter look the same.
    return table | {s.replace("µ", "μ"): forms for s, forms in table.items() if "µ" in s}


UNITS = _table()
# Units after "per": 5 mg/ml.
PER = {
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "hour": "hour",
    "day": "day", "d": "day", "week": "week", "month": "month", "year": "year", "yr": "year",
    "L": "liter", "l": "liter", "mL": "milliliter", "ml": "milliliter", "dL": "deciliter",
    "kg": "kilogram", "g": "gram", "lb": "pound", "m": "meter", "km": "kilometer",
    "m²": "square meter",
    "m³": "cubic meter", "cm²": "square centimeter", "cm³": "cubic centimeter",
    "km²": "square kilometer", "mile": "mile", "gal": "gallon", "100km": "one hundred kilometers",
    "100 km": "one hundred kilometers", "second": "second", "minute": "minute", "mol": "mole",
    "ha": "hectare", "dose": "dose",
    "cup": "cup", "hectare": "hectare", "acre": "acre", "cm": "centimeter", "mm": "millimeter",
    "ft": "foot", "in": "inch", "W": "watt", "V": "volt", "mo": "month", "wk": "week",
    "person": "person",
}  # fmt: skip
