"""The table that the check prints."""

from __future__ import annotations

from .results import FAILED, OK, SKIPPED

LEGEND = (
    'Part 2: 2.00x is half the time of the released form, 2.00x/0.25 in a quarter of its memory; [shares of peaks].'
)


def render(state: dict) -> str:
    """Return the results as a table in Markdown, one line for each case, below what they were found on."""
    lines = [describe(state), LEGEND, '', '| part | case | result | |', '|---|---|---|---|']
    for number, part in sorted(state['parts'].items()):
        for row in part['rows']:
            summary = row.get('summary', '') + shares(row, peaks(state))
            lines.append(f'| {number} | {row["case"]} | {row["status"]} | {summary.replace("|", "/")} |')
    lines.append('')
    for number, part in sorted(state['parts'].items()):
        found = [row['status'] for row in part['rows']]
        results = ', '.join(f'{found.count(status)} {status}' for status in (OK, FAILED, SKIPPED) if status in found)
        lines.append(f'Part {number}, {part["title"]}: {results or "nothing"}; {part["seconds"]:.0f} s.')
    return '\n'.join(lines)


def describe(state: dict) -> str:
    """Return one line about the machine."""
    machine = state.get('machine') or {}
    keys = ('name', 'memory_gb', 'torch', 'cuda', 'cudnn', 'triton', 'numpy', 'python')
    words = [
        f'{key} {machine[key]:.0f}' if key == 'memory_gb' else f'{key} {machine[key]}' for key in keys if key in machine
    ]
    return ('Dry run at tiny sizes: its times mean nothing. ' if state.get('dry') else '') + ', '.join(words)


def peaks(state: dict) -> dict[str, float]:
    """Return what the device reached in copies and matrix products, by name."""
    rows = [row for part in state['parts'].values() for row in part['rows']]
    return next((row['peaks'] for row in rows if 'peaks' in row), {})


def shares(row: dict, limits: dict[str, float]) -> str:
    """Return what a case's forms reach of the device's peaks, of each stage the fastest, as the end of its summary."""
    figures = row.get('figures') or {}
    if not limits or row['status'] != OK:
        return ''
    texts = []
    for name, found in figures.items():
        if name.startswith('stage'):
            timed = {form: value for form, value in found.items() if 'ms' in value and form != 'sdpa'}
            best = min(timed, key=lambda form: timed[form]['ms'], default=None)
            name, found = f'{name} {best}', timed.get(best, {})
        if 'ms' in found and found.get('flops') and found.get('bytes'):
            texts.append(f'{name} {achieved(found, row["precision"], limits)}')
    return f' [{"; ".join(texts)}]' if texts else ''


def achieved(figures: dict, precision: str, limits: dict[str, float]) -> str:
    """Return TFLOP/s and GB/s, and their shares of the device's peaks."""
    seconds = figures['ms'] / 1e3
    tflops, gigabytes = figures['flops'] / seconds / 1e12, figures['bytes'] / seconds / 1e9
    top = limits[f'TFLOP/s {precision}']
    return f'{tflops:.3g} TFLOP/s ({tflops / top:.0%}), {gigabytes:.3g} GB/s ({gigabytes / limits["GB/s"]:.0%})'
