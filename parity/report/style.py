"""Style sheet of the report's page."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --ink: #1f2328; --dim: #59636e; --rule: #d1d9e0; --tint: #f6f8fa;
  --good: #116329; --good-ground: #dafbe1; --bad: #a40e26; --bad-ground: #ffebe9;
  --line: #0969da; --bound: #9a6700;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0d1117; --ink: #e6edf3; --dim: #9198a1; --rule: #3d444d; --tint: #151b23;
    --good: #6fdd8b; --good-ground: #12261e; --bad: #ff9492; --bad-ground: #3c1618;
    --line: #6cb6ff; --bound: #e3b341;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
a { color: var(--line); }
.verdict { font-weight: 600; padding: .6rem .9rem; border-radius: .4rem; margin: .5rem 0; }
.verdict.holds { background: var(--good-ground); color: var(--good); }
.verdict.fails { background: var(--bad-ground); color: var(--bad); }
.facts { list-style: none; padding: 0; margin: .6rem 0; display: flex; flex-wrap: wrap;
  gap: .4rem; }
.facts li { background: var(--tint); border: 1px solid var(--rule); border-radius: 1rem;
  padding: 0 .7rem; font-size: .875rem; overflow-wrap: anywhere; }
.scrolls { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .9375rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
thead th { color: var(--dim); font-weight: 600; font-size: .8125rem; }
td small { display: block; color: var(--dim); }
.n { white-space: nowrap; }
.holds .mark { color: var(--good); }
.fails td { background: var(--bad-ground); }
.fails .mark, .fails td[colspan] { color: var(--bad); font-weight: 600; }
.about th { white-space: nowrap; font-weight: 600; }
.about td { overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .8125rem; }
.pictures { display: grid; gap: 1rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
figure { margin: 0; padding: .6rem; background: var(--tint); border: 1px solid var(--rule);
  border-radius: .4rem; min-width: 0; }
figcaption { font-size: .8125rem; color: var(--dim); overflow-wrap: anywhere; }
figure img { display: block; width: 100%; height: 9.4rem; image-rendering: pixelated; }
figure svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
.e { text-anchor: end; } .m { text-anchor: middle; }
.grid { stroke: var(--rule); fill: none; }
.line { stroke: var(--line); stroke-width: 1.5; fill: none; stroke-linejoin: round; }
.bound { stroke: var(--bound); stroke-width: 1.5; stroke-dasharray: 5 3; fill: none; }
.mark { fill: var(--bad); }
.bar, .area { fill: var(--line); }
.area { stroke: var(--line); stroke-width: .75; }
@media (max-width: 34rem) {
  main { padding: .75rem; }
  table { font-size: .875rem; }
  .about th { white-space: normal; }
  /* A row is a paragraph: its name, then its figures with theirs before them. */
  .rows thead { display: none; }
  .rows tr { display: flex; flex-wrap: wrap; column-gap: 1rem; padding: .4rem 0;
    border-bottom: 1px solid var(--rule); }
  .rows td { border: 0; padding: 0; }
  .rows td:first-child, .rows .what { flex-basis: 100%; overflow-wrap: anywhere; }
  .rows td:first-child { font-weight: 600; }
  .rows td small { font-weight: 400; }
  .rows [data-is]::before { content: attr(data-is) " "; color: var(--dim); }
  .rows .fails { background: var(--bad-ground); padding: .4rem; }
}
@media print { figure, section { break-inside: avoid; } }
"""
