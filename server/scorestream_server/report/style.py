"""How the report looks: light and dark, on screens of any width and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #f5f6f8; --ink: #1b1f24; --muted: #57606a; --line: #d5d9de;
  --accent: #2f6fb5; --good: #1a6b35; --warn: #8a5a00; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1e2228; --ink: #e6e9ed; --muted: #9aa4b0; --line: #363c44;
    --accent: #6aa7e8; --good: #6fcf8b; --warn: #e3b04b; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 920px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { margin: 0; font-size: 26px; overflow-wrap: anywhere; }
h2 { margin: 36px 0 12px; font-size: 18px; border-bottom: 1px solid var(--line); padding-bottom: 6px; }
p { margin: 4px 0 12px; overflow-wrap: anywhere; }
code { font: 0.92em ui-monospace, monospace; overflow-wrap: anywhere; }
.muted { color: var(--muted); }
.state { font-size: 14px; vertical-align: middle; border: 1px solid; border-radius: 12px; padding: 2px 10px; white-space: nowrap; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
.tiles div { background: var(--card); border-radius: 8px; padding: 12px 16px; }
.tiles dt { color: var(--muted); font-size: 13px; }
.tiles dd { margin: 0; font-size: 22px; font-variant-numeric: tabular-nums; }
.told { margin: 0; padding-left: 20px; overflow-wrap: anywhere; }
figure { margin: 0 0 20px; }
figcaption { margin-bottom: 10px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .muted { fill: var(--muted); } svg .label { fill: var(--muted); font-size: 13px; }
svg .bar { fill: var(--accent); } svg .area { fill: var(--accent); fill-opacity: 0.35; stroke: var(--accent); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--muted); }
.scrolls { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; color: var(--muted); padding-bottom: 6px; }
th, td { padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
.figures td, .figures thead th + th { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures tbody th { font-family: ui-monospace, monospace; font-weight: normal; min-width: 150px; max-width: 240px; overflow-wrap: anywhere; }
.facts th { font-weight: normal; color: var(--muted); width: 120px; }
.facts td { overflow-wrap: anywhere; }
@media print { main { max-width: none; } figure { break-inside: avoid; } }
"""
