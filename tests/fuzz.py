"""Thousands of damaged files for a reader: `python -m tests.fuzz READER --count 5000 --seed 0`."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time

from .fuzzing import damaged, fuzz, keep, read_one, readers


def main() -> int:
    """Run the fuzz; exit code 1 if there was a fault."""
    known = readers()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("reader", nargs="*", help="none: all of them; see --list")
    parser.add_argument("--count", type=int, default=1000, help="inputs for each (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="input N alone, and what it gave")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with input N")
    parser.add_argument("--keep", action="store_true", help="add one of each fault to the corpus")
    parser.add_argument("--list", action="store_true", help="the readers")
    options = parser.parse_args()
    if unknown := set(options.reader) - known.keys():
        parser.error(f"no such reader: {', '.join(unknown)}; there are {', '.join(known)}")
    if options.list:
        print("\n".join(known))
        return 0
    failed = False
    for reader in [known[name] for name in options.reader or known]:
        if options.only is not None:
            content = damaged(reader, list(reader.seeds()), options.seed, options.only)
            print(reader.name, *read_one(reader, content), sep=": ")
            continue
        started = time.perf_counter()
        tally = fuzz(reader, options.count, options.seed, options.first)
        print(f"{reader.name}: {tally} ({time.perf_counter() - started:.0f} s)", flush=True)
        failed = failed or bool(tally.faults)
        if options.keep:
            for fault in {fault.what: fault for fault in tally.faults}.values():
                name = hashlib.sha256(fault.content).hexdigest()[:12]
                print(keep(reader, name, fault.content))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
