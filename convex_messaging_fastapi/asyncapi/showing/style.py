"""How the page looks: on a telephone and on a screen, by day and by night."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --paper: #fff; --soft: #5c6570; --line: #d8dee4;
  --shade: #f4f6f8; --in: #0b6e4f; --out: #8a4b08; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --paper: #14171b; --soft: #a0a9b4;
  --line: #333a42; --shade: #1d2127; --in: #5fd3a8; --out: #f0b36b; --link: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 3rem 0 .25rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 1.35rem; }
h3 { margin: 2rem 0 .25rem; font-size: 1.1rem; }
p { margin: .25rem 0; }
a { color: var(--link); }
.soft { color: var(--soft); }
.text { white-space: pre-line; }
code, pre { font-family: ui-monospace, monospace; font-size: .875em; }
pre { overflow-x: auto; padding: .75rem; background: var(--shade); border: 1px solid var(--line);
  border-radius: 6px; white-space: pre; overflow-wrap: normal; }
ul { margin: .5rem 0; padding-left: 1.25rem; }
ul.plain { padding: 0; list-style: none; }
ul.plain li { padding: .5rem 0; border-bottom: 1px solid var(--line); }
.way { display: inline-block; min-width: 6rem; font-weight: 600; }
.receive { color: var(--in); }
.send { color: var(--out); }
table { width: 100%; margin: .5rem 0; border-collapse: collapse; font-size: .9375rem; }
th, td { padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td:first-child { min-width: 8rem; }
summary { margin: .5rem 0; cursor: pointer; color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { padding: 0; border: 0; }
  td:empty { display: none; }
  td:first-child { font-weight: 600; }
}
"""
