"""A terminal's screen as an SVG, for the README: colours as they were, no web font, nothing fetched.

tmux new-session -d -s run -x 100 -y 70 && tmux send-keys -t run 'optimize …' Enter
tmux capture-pane -t run -p -e | python docs/picture.py docs/run.svg        # once it is done
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
line-height: {line_height}px; white-space: pre }} {styles}</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""

THEME = TerminalTheme(
    (24, 26, 31),
    (222, 224, 228),
    [(40, 42, 48), (235, 110, 110), (120, 200, 120), (225, 190, 105), (110, 165, 240), (200, 140, 230), (95, 195, 205),
     (222, 224, 228)],
    [(120, 124, 132), (245, 130, 130), (140, 220, 140), (240, 205, 120), (130, 185, 255), (215, 160, 245),
     (115, 215, 225), (245, 246, 248)],
)  # fmt: skip


def main(target: Path) -> None:
    lines = sys.stdin.read().rstrip().splitlines()
    console = Console(record=True, width=100, file=sys.stderr, force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
    target.write_text(console.export_svg(title="optimize", theme=THEME, code_format=FORMAT))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
