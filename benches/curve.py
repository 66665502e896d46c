"""Quality against training time, as plain SVG, from what `train --json` printed.

    python benches/curve.py LOG.jsonl OUT.svg [--line 'nearest neighbour=0.5832']
"""

import argparse
import json
from pathlib import Path

from plot import COLOURS, FAINT, GRID, INK, text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 620, 320, 52, 20, 48, 46


def validations(lines):
    """(minutes of training, share of captions right) of each validation; its time is that of the last report before it."""
    seconds, points = 0.0, []
    for line in map(json.loads, lines):
        seconds = line.get("seconds", seconds)
        if "val_loss" in line and "step" in line:
            points.append((seconds / 60, line["exact_match"]))
    return points


def figure(points, marks):
    most = max(x for x, _ in points)
    at_x = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * x / most
    at_y = lambda y: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>',
        text(14, 22, "Captions right to the letter, of drawings by an artist never trained on (dev)", size=14, weight=600),
    ]
    for tenth in range(0, 11, 2):
        y = at_y(tenth / 10)
        svg.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        svg.append(text(LEFT - 6, y + 4, f"{10 * tenth} %", FAINT, "end"))
    for minute in range(0, int(most) + 1, 10 if most > 20 else 2):
        svg.append(text(at_x(minute), HEIGHT - BOTTOM + 16, str(minute), FAINT, "middle"))
    svg.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, "minutes of training", FAINT, "middle"))
    for name, value in marks:
        svg.append(f'<path d="M{LEFT} {at_y(value):.1f}H{WIDTH - RIGHT}" stroke="{COLOURS[1]}" stroke-dasharray="5 4"/>')
        svg.append(text(WIDTH - RIGHT, at_y(value) + 14, f"{name} {100 * value:.1f} %", COLOURS[1], "end"))
    path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
    svg.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    svg += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{COLOURS[0]}"/>' for x, y in points]
    x, y = points[-1]
    svg.append(text(at_x(x), at_y(y) - 8, f"{100 * y:.1f} %", INK, "end", weight=600))
    return "\n".join(svg + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--line", action="append", default=[], metavar="NAME=SHARE", help="a share to compare with")
    args = parser.parse_args()
    points = validations(args.log.read_text().splitlines())
    if not points:
        parser.error(f"{args.log} has no validation: train with --json and --eval-every")
    marks = [(name, float(value)) for name, _, value in (line.rpartition("=") for line in args.line)]
    args.out.write_text(figure(points, marks))


if __name__ == "__main__":
    main()
