"""Colours and the style sheet of pages: light, dark and printed, from the width of a phone."""

from __future__ import annotations

# Of series in drawings; the last is that of rules and notes.
COLOURS = ("#1f6f8b", "#e08e45", "#6a994e", "#a23e48", "#7b6ba8", "#5b6b7b")
INK, SOFT, GRID, PAPER = "#1c2733", "#5b6b7b", "#e4e9ee", "#ffffff"

# A drawing's colour -> the style sheet's variable, which has another value on dark pages.
VARIABLES = {
    **{colour: f"--c{i}" for i, colour in enumerate(COLOURS[:-1], 1)},
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    PAPER: "--paper",
}

CSS = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #dde3e9;
  --accent: #1f6f8b; --wash: #f5f8fa; --paper: #fff; --grid: #e4e9ee; --land: #e9eef2;
  --c1: #1f6f8b; --c2: #e08e45; --c3: #6a994e; --c4: #a23e48; --c5: #7b6ba8; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #a3b1be;
  --line: #37434f; --accent: #6db9d3; --wash: #202a33; --paper: #161d24; --grid: #2b3540;
  --land: #2a343e;
  --c1: #6db9d3; --c2: #f0a868; --c3: #9bc77c; --c4: #f0808b; --c5: #b3a5e0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  background: var(--paper);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header { border-bottom: 3px solid var(--accent); margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; margin: 0 0 .6rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; color: var(--accent); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { max-width: 52rem; margin: .5rem 0; }
ul { margin: .4rem 0; padding-left: 1.3rem; max-width: 52rem; }
p.lead { font-size: 1.25rem; line-height: 1.45; margin: .4rem 0 1.1rem; max-width: 60rem; }
nav { background: var(--wash); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem 1rem; }
nav ol { columns: 17rem; column-gap: 2rem; margin: .3rem 0; padding-left: 1.6rem; }
nav li { break-inside: avoid; }
a { color: var(--accent); }
figure { margin: 1.2rem 0; }
figure svg { max-width: 100%; height: auto; }
figcaption, .caption { color: var(--soft); font-size: .9rem; max-width: 52rem; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; vertical-align: bottom; }
th.text, td.text { text-align: left; }
td.wide { white-space: normal; min-width: 17rem; }
tbody tr:hover { background: var(--wash); }
tr.strong td { font-weight: 650; background: var(--wash); }
summary { cursor: pointer; margin: .5rem 0; color: var(--accent); }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; font-size: .87rem; line-height: 1.5; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); color: var(--soft); }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; } h1 { font-size: 1.5rem; }
  h1, h2, h3, p, li, figcaption { overflow-wrap: anywhere; }
  p.lead { font-size: 1.1rem; } td.wide { min-width: 14rem; }
  .scroll > svg.drawing { max-width: 38rem; } }
@media print { body { padding: 0; max-width: none; font-size: 10pt; } nav { display: none; }
  h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; white-space: normal; } td.wide { min-width: 0; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; } }
"""
