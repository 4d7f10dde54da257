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
body {{ background: var(--ground); color: var(--ink); font: 13px system-ui, sans-serif; margin: 0 }}
/* Bokeh repaints the panels with new colours only if their size changes, so the edge changes it. */
body {{ box-sizing: border-box; padding-right: var(--edge) }}
"""

# For the controls, because Bokeh's controls have style sheets of their own.
CONTROLS = """
:host { color: var(--ink); font: 13px system-ui, sans-serif }
.bk-btn, .bk-input, select.bk-input {
  background-color: var(--ground); color: var(--ink); border-color: var(--line); font-size: 13px
}
.bk-btn:focus-visible, select.bk-input:focus-visible, .bk-tab:focus-visible {
  outline: 2px solid #2b8cc4; outline-offset: 1px
}
.bk-btn.bk-active { background-color: var(--ink); color: var(--ground) }
.bk-btn:hover { border-color: var(--faint) }
.bk-btn:disabled {
  background-color: var(--ground); color: var(--ink); border-color: var(--line); opacity: 0.4
}
select.bk-input:not([multiple]) {
  appearance: auto; background-image: none; color-scheme: var(--scheme)
}
.bk-tab { color: var(--faint); padding: 4px 8px }
.bk-tab.bk-active, .bk-tab:hover {
  color: var(--ink); background-color: var(--ground); border-color: var(--line)
}
.bk-header { border-color: var(--line) }
div.bk-clearfix { display: block; width: 100% }
h1 { font-size: 15px; margin: 0 }
h2 { font-size: 14px; margin: 0 0 6px }
p { margin: 0 0 8px; line-height: 1.4 }
p.formula { border-left: 3px solid #d55e00; padding-left: 7px }
pre { font-size: 10.5px; line-height: 1.35; white-space: pre-wrap; margin: 0 0 8px }
code { font-size: 11px }
.figures { display: flex; gap: 18px; white-space: nowrap; font-variant-numeric: tabular-nums }
.figures b { font-weight: 600 }
p.error { color: var(--error); font-weight: 600; margin: 0 }
.figures span { color: var(--faint) }
"""
