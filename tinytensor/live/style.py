"""The style sheets of the live pages: light or dark, from the browser's setting or chosen.

Bokeh's figures take their colours from the CSS variables defined here.
"""

LIGHT = {
    "ground": "#ffffff", "panel": "#ffffff", "ink": "#1c1f23", "faint": "#6b7280",
    "line": "#d5d8dd", "error": "#b3261e", "scheme": "light", "edge": "0px",
}  # fmt: skip
DARK = {
    "ground": "#14171b", "panel": "#14171b", "ink": "#e6e8eb", "faint": "#9aa1ab",
    "line": "#3a3f47", "error": "#ff8a80", "scheme": "dark", "edge": "4px",
}  # fmt: skip
SCHEMES = {"auto colours": [], "light": ["light"], "dark": ["dark"]}  # CSS classes of the page


PHONE = "700px"  # the width up to which the panels are in one column
TABLET = "1000px"  # the width up to which the tabs are below the panels, and the page scrolls


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


PAGE = f"""
:root {{ {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
:root:has(.light) {{ {_variables(LIGHT)} }}
:root:has(.dark) {{ {_variables(DARK)} }}
:root {{
  color-scheme: var(--scheme);
  --bk-background-fill-color: var(--panel);
  --bk-border-fill-color: var(--panel);
  --bk-outline-line-color: var(--line);
  --bk-grid-line-color: var(--line);
  --bk-axis-line-color: var(--faint);
  --bk-major-tick-line-color: var(--faint);
  --bk-minor-tick-line-color: var(--faint);
  --bk-major-label-text-color: var(--ink);
  --bk-axis-label-text-color: var(--ink);
  --bk-label-text-color: var(--ink);
  --bk-text-color: var(--ink);
}}
html, body {{ height: 100%; overflow: hidden }}
@media (max-width: {TABLET}) {{
  html, body {{ height: auto; overflow: visible }}
  .page {{ height: auto; max-height: none }}
}}
body {{ background: var(--ground); color: var(--ink); font: 13px system-ui, sans-serif; margin: 0 }}
/* Bokeh repaints the panels with new colours only if their size changes, so the edge changes it. */
body {{ box-sizing: border-box; padding-right: var(--edge) }}
#gone {{
  position: fixed; inset: auto 0 0 0; padding: 8px 12px; text-align: center; z-index: 9;
  background: var(--ink); color: var(--ground);
}}
#gone:empty {{ display: none }}
"""

# For the controls, because Bokeh's controls have separate style sheets.
CONTROLS = """
:host { color: var(--ink); font: 13px system-ui, sans-serif }
.bk-btn, .bk-input, select.bk-input {
  background-color: var(--ground); color: var(--ink); border-color: var(--line); font-size: 13px
}
.bk-btn:focus-visible, select.bk-input:focus-visible, .noUi-handle:focus-visible,
summary:focus-visible {
  outline: 2px solid #2b8cc4; outline-offset: 1px
}
.bk-tab:focus-visible { outline: 2px solid #2b8cc4; outline-offset: -2px }
.bk-header { height: auto; max-width: 100% }
.bk-headers-wrapper { flex-wrap: wrap; overflow: visible }
.bk-btn.bk-active { background-color: var(--ink); color: var(--ground) }
.bk-btn:hover { border-color: var(--faint) }
.bk-btn:hover:not(.bk-active, :disabled) { background-color: var(--line); color: var(--ink) }
.bk-btn:disabled {
  background-color: var(--ground); color: var(--ink); border-color: var(--line); opacity: 0.4
}
select.bk-input:not([multiple]) {
  appearance: auto; background-image: none; color-scheme: var(--scheme); padding: 0 4px 0 6px
}
.noUi-target { background: var(--line); border-color: var(--line); box-shadow: none }
.noUi-handle { background: var(--ground); border-color: var(--faint); box-shadow: none }
.bk-tab { color: var(--faint); padding: 3px 2px; font-size: 11.5px }
.bk-tab.bk-active, .bk-tab:hover {
  color: var(--ink); background-color: var(--ground); border-color: var(--line)
}
.bk-header { border-color: var(--line) }
div.bk-clearfix { display: block; width: 100% }
h1 { font-size: 15px; margin: 0; max-width: calc(100vw - 26px) }
h2 { font-size: 14px; margin: 0 0 6px }
p { margin: 0 0 8px; line-height: 1.4 }
p.formula { border-left: 3px solid #d55e00; padding-left: 7px }
pre { font-size: 10.5px; line-height: 1.35; white-space: pre-wrap; margin: 0 0 8px }
code { font-size: 11px }
.figures {
  display: flex; flex-wrap: wrap; gap: 0 18px; white-space: nowrap;
  font-variant-numeric: tabular-nums;
}
.figures b { font-weight: 600 }
p.error { color: var(--error); font-weight: 600; margin: 0 }
p.coach { color: var(--faint); margin: 0 }
div.coach { border-left: 3px solid var(--error); padding-left: 8px }
div.coach summary { cursor: pointer }
div.coach span { color: var(--faint) }
div.coach p { margin: 2px 0 4px 16px }
.figures span { color: var(--faint) }
table { border-collapse: collapse; font-size: 11.5px; margin: 0 0 8px; width: 100% }
th, td { text-align: left; padding: 1px 6px 1px 0; border-bottom: 1px solid var(--line) }
.accuracy { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 24px; font-size: 20px }
.accuracy b { font-size: 64px; line-height: 1; font-variant-numeric: tabular-nums }
table.signs td { vertical-align: top }
table.signs span { color: var(--faint) }
ul.claims { list-style: none; margin: 0 0 12px; padding: 0 0 0 20px }
ul.claims li { margin: 0 0 8px; line-height: 1.4; text-indent: -20px; color: var(--faint) }
ul.claims li.seen { color: var(--ink) }
ul.claims li.seen b { color: #2b8cc4 }
ul.claims span { color: var(--faint); white-space: nowrap }
.numbers td, .numbers th { text-align: right; font-variant-numeric: tabular-nums }
.numbers p { margin: 4px 0 }
.numbers table { margin: 0 0 4px }
.numbers .followed .text { font-size: 9.5px }
.numbers .followed h2 { font-size: 13px; margin: 12px 0 2px }
.numbers .followed figure { margin-right: 6px }
.numbers .followed figcaption { font-size: 10.5px }
.numbers tr.chosen td, .numbers td.chosen { color: #d97706; font-weight: 600 }
.bar { height: 4px; background: var(--line); margin: 2px 0 3px }
.bar div { height: 4px; background: #2b8cc4 }
b.wrong { color: var(--error) }
"""

PANEL = """
:host(.panel) { position: relative; min-width: 0 }
:host(.help) { position: absolute; right: 0; top: 0; z-index: 2; margin: 0 }
h3 { font-size: 13px; font-weight: 600; line-height: 1.4; margin: 0 }
h3 span { font-weight: 400; white-space: nowrap; margin-left: 8px }
h3 div { font-weight: 400 }
h3 div span { margin: 0; white-space: normal }
h3 .pale { opacity: 0.6 }
summary {
  list-style: none; width: 18px; line-height: 18px; margin-left: auto; text-align: center;
  border-radius: 9px; color: var(--faint); box-shadow: inset 0 0 0 1px var(--line); cursor: pointer;
}
summary::-webkit-details-marker { display: none }
details p {
  box-sizing: border-box; width: 230px; margin: 4px 0 0; padding: 8px 10px; font-size: 13px;
  background: var(--ground); border: 1px solid var(--faint); border-radius: 4px;
}
:host(.large) h3 { font-size: 24px }
:host(.large) summary { width: 30px; line-height: 30px; border-radius: 15px; font-size: 20px }
:host(.large) details p { width: 420px; font-size: 20px }
"""

# A row of buttons, of which one is chosen.
GROUP = """
.bk-btn-group { flex-wrap: wrap }
.bk-btn-group .bk-btn { flex: none; padding: 6px 8px }
"""

# The panel with a large pad, which is the largest square with room for the bars next to it. On a
# phone the bars are below it.
DRAWING = f"""
:host(.drawing) {{ gap: 12px; container-type: size }}
:host(.pad) {{ width: min(100cqh, 62cqw); height: min(100cqh, 62cqw); flex: none }}
:host(.verdict) {{ font-size: 24px }}
:host(.answers) {{ flex-wrap: wrap; align-items: baseline }}
:host(.large), :host(.large) .bk-btn {{ font-size: 20px }}
@media (max-width: {PHONE}) {{
  :host(.drawing) {{ flex-direction: column }}
  :host(.pad) {{ width: 94vw; height: 94vw }}
}}
"""

# The panels and the tabs next to them; on a tablet and a phone, the tabs are below the panels.
GRID = f"""
:host {{
  grid-template: none; grid-auto-columns: minmax(0, 1fr); grid-auto-rows: minmax(0, 1fr);
}}
@media (max-width: {TABLET}) {{
  :host {{ flex: none; grid-auto-rows: auto }}
  :host, .panel {{ height: auto; max-height: none }}
  .panel {{ height: 40vw }}
  .panel.tall {{ height: 62vw }}
}}
@media (max-width: {PHONE}) {{
  :host {{ display: flex; flex-direction: column; gap: 12px }}
  .panel {{ flex: none; height: 78vw }}
  .panel.tall {{ height: calc(94vw + 360px) }}
}}
"""
BODY = f"""
@media (max-width: {TABLET}) {{
  :host {{ flex-direction: column; height: auto; max-height: none }}
  .tabs {{ width: auto; height: 640px; flex: none }}
}}
"""
ROOT = f"""
@media (max-width: {TABLET}) {{
  :host, .body {{ height: auto; max-height: none }}
  .body {{ flex: none }}
}}
"""
