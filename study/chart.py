"""Learning curves as SVG: the number of scans on a logarithmic axis, a share on the other, intervals as whiskers."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 820, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 270, 44, 56
# Okabe and Ito's colours, which stay apart for colour-blind readers; the fifth is darkened for white paper.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b59f00", "#56b4e9"]
STYLE = """
  svg { font: 13px system-ui, sans-serif; }
  .paper { fill: #ffffff; } text { fill: #24292f; } .title { font-size: 15px; font-weight: 600; }
  .axis { stroke: #57606a; } .grid { stroke: #d8dee4; } .level { stroke: #57606a; stroke-dasharray: 5 4; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } text { fill: #e6edf3; } .axis { stroke: #8b949e; } .grid { stroke: #30363d; }
    .level { stroke: #8b949e; }
  }"""


class Scale:
    """Scans to the right, shares upwards."""

    def __init__(self, sizes, top):
        self.low, self.high, self.top = math.log(min(sizes)), math.log(max(sizes)), top

    def x(self, n):
        share = 0.5 if self.high == self.low else (math.log(n) - self.low) / (self.high - self.low)
        return LEFT + 24 + share * (WIDTH - LEFT - RIGHT - 48)

    def y(self, value):
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def line(x1, y1, x2, y2, more):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def axes(scale, sizes, percent, label):
    out = []
    for i in range(6):
        value = scale.top * i / 5
        y = scale.y(value)
        out.append(line(LEFT, y, WIDTH - RIGHT, y, 'class="grid"'))
        out.append(text(LEFT - 8, y + 4, f"{100 * value:.0f} %" if percent else f"{value:.2f}", 'text-anchor="end"'))
    bottom = HEIGHT - BOTTOM
    out.append(line(LEFT, bottom, WIDTH - RIGHT, bottom, 'class="axis"'))
    for n in sizes:
        out.append(line(scale.x(n), bottom, scale.x(n), bottom + 5, 'class="axis"'))
        out.append(text(scale.x(n), bottom + 20, f"{n:,}", 'text-anchor="middle"'))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, label, 'text-anchor="middle"'))
    return out


def curve(scale, points, colour, shift):
    """points: [(n, {mean, low, high})]; shift keeps whiskers of several curves apart."""
    at = [(scale.x(n) + shift, scale.y(v["mean"]), scale.y(v["low"]), scale.y(v["high"])) for n, v in points]
    out = ['<polyline fill="none" stroke="{}" stroke-width="2" points="{}"/>'.format(
        colour, " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in at))]
    for x, y, low, high in at:
        stroke = f'stroke="{colour}" stroke-width="1.5"'
        out += [line(x, low, x, high, stroke), line(x - 4, low, x + 4, low, stroke), line(x - 4, high, x + 4, high, stroke)]
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    return out


def spread_labels(wanted, least=17):
    """Heights near those wanted, at least so far apart, in the same order."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed, last, lowest = [0.0] * len(wanted), -math.inf, HEIGHT - BOTTOM
    for i in order:
        last = placed[i] = max(wanted[i], last + least)
    for i in reversed(order):  # what was pushed below the axis goes up again
        placed[i] = min(placed[i], lowest)
        lowest = placed[i] - least
    return placed


def draw(title, curves, levels, sizes, percent=True, top=1.0, label="scans to train with"):
    """curves: [(name, [(n, {mean, low, high})])], levels: [(name, value)] as dashed lines -> the SVG's text."""
    scale = Scale(sizes, top)
    body = axes(scale, sizes, percent, label)
    names, heights, colours = [], [], []
    for name, value in levels:
        body.append(line(LEFT, scale.y(value), WIDTH - RIGHT, scale.y(value), 'class="level"'))
        names.append(name), heights.append(scale.y(value)), colours.append(None)
    for i, (name, points) in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        body += curve(scale, points, colour, 4 * (i - (len(curves) - 1) / 2))
        names.append(name), heights.append(scale.y(points[-1][1]["mean"])), colours.append(colour)
    for name, y, colour in zip(names, spread_labels(heights), colours):
        x = WIDTH - RIGHT + 10
        mark = f'stroke="{colour}" stroke-width="3"' if colour else 'class="level"'
        body += [line(x, y, x + 16, y, mark), text(x + 22, y + 4, name)]
    if not curves:
        body.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT / 2, "not run", 'text-anchor="middle"'))
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
                      f"<title>{escape(title)}</title>", f"<style>{STYLE}\n</style>",
                      f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>', text(LEFT, 26, title, 'class="title"'),
                      *body, "</svg>"]) + "\n"
