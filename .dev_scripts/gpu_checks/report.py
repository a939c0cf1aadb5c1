"""The table that the check prints."""

from __future__ import annotations

from .results import FAILED, OK, SKIPPED


def render(state: dict) -> str:
    """Return the results as a table in Markdown, one line for each case, below what they were found on."""
    lines = [describe(state), '', '| part | case | result | |', '|---|---|---|---|']
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
    """Return what the best of a case's own forms reaches of the device's peaks, as the end of its summary."""
    groups = row.get('figures') or {}
    if not groups or not limits or row['status'] != OK:
        return ''
    nested = all('ms' not in value and 'failed' not in value for value in groups.values())
    texts = []
    for name, figures in groups.items() if nested else [('', groups)]:
        known = {key: value for key, value in figures.items() if value.get('flops') and 'ms' in value}
        own = {key: value for key, value in known.items() if key != 'sdpa'}
        if own:
            best = min(own, key=lambda key: own[key]['ms'])
            texts.append(f'{name + " " * bool(name)}{best} {achieved(own[best], row["precision"], limits)}')
    return f' [{"; ".join(texts)}]' if texts else ''


def achieved(figures: dict, precision: str, limits: dict[str, float]) -> str:
    """Return TFLOP/s and GB/s, and their shares of the device's peaks."""
    seconds = figures['ms'] / 1e3
    tflops, gigabytes = figures['flops'] / seconds / 1e12, figures['bytes'] / seconds / 1e9
    top = limits[f'TFLOP/s {precision}']
    return f'{tflops:.3g} TFLOP/s ({tflops / top:.0%}), {gigabytes:.3g} GB/s ({gigabytes / limits["GB/s"]:.0%})'
