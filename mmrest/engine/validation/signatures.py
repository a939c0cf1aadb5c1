"""Arguments that registered classes take, and names that are almost right."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Callable, Iterable

from mmengine.registry import Registry

# Of mmengine's classes that hand **kwargs on to what takes none of them.
CLOSED = ('CheckpointHook',)


def find_class(registry: Registry, kind: Any, scope: str | None) -> Callable | None:
    """Return the class that a config's ``type`` names.

    Args:
        registry (Registry): mmengine's root registry of its kind.
        kind (str | Callable): Registered name, or the class itself.
        scope (str, optional): The library that a name without one belongs to.

    Returns:
        Callable | None: None if nothing of that name is registered.

    Raises:
        ImportError: The library that it belongs to, or one that this imports, is not installed.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    with registry.switch_scope_and_registry(scope) as scoped:
        return scoped.get(kind)


def _registered_names(registry: Registry, scope: str | None) -> set[str]:
    """Return the names of a registry, as seen from a scope."""
    names: set[str] = set()
    with registry.switch_scope_and_registry(scope) as scoped:
        while scoped is not None:
            names |= set(scoped.module_dict)
            scoped = scoped.parent
    return names


def arguments(kind: Callable) -> tuple[set[str], bool]:
    """Return the names of the arguments of a class or function, and whether it takes others as well.

    ``**kwargs`` of a class are taken to be passed on to the next class of its MRO that has an ``__init__``.
    """
    names: set[str] = set()
    if not inspect.isclass(kind):
        return names, _add_parameters(kind, names)
    for base in kind.__mro__:
        if base is not object and '__init__' in vars(base):
            if not _add_parameters(base.__init__, names) or base.__name__ in CLOSED:
                return names - {'self'}, False
    # A class without an __init__ takes nothing; one whose **kwargs go nowhere uses them in a way of its own.
    return names - {'self'}, bool(names)


def _add_parameters(function: Callable, names: set[str]) -> bool:
    """Add the parameters of a function that can be given by name; return whether it has ``**kwargs``."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled, with no signature
        return True
    names |= {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    return any(each.kind is each.VAR_KEYWORD for each in parameters)


def nearest(name: str, names: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the one of several names that looks most like another."""
    close = difflib.get_close_matches(str(name), sorted(set(names) - {name}), n=1, cutoff=cutoff)
    return close[0] if close else None


def _hint(name: str, names: Iterable[str], most: int = 12) -> str:
    """Return a sentence that says which name may be meant, or which ones there are."""
    names = sorted(names)
    near = nearest(name, names)
    if near:
        return f'Did you mean {near}?'
    if not names:
        return 'It takes none.'
    return f'It takes {", ".join(names[:most])}{", ..." if len(names) > most else ""}.'


def unregistered(path: str, kind: Any, registry: Registry, scope: str | None) -> str:
    """Return a sentence that says that no class of a name is known."""
    near = nearest(str(kind).rsplit('.', 1)[-1], _registered_names(registry, scope))
    meant = f'Did you mean {near}?' if near else 'Name the module that registers it in custom_imports.'
    return f'{path} is {kind!r}, which is not registered in {registry.name}s. {meant}'


def unknown(path: str, config: dict, names: set[str], others: bool, owner: str, extra: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each key of a config that its class does not take.

    Args:
        path (str): Of the config.
        config (dict): Whose keys are looked at; ``type`` is left out.
        names (set[str]): Arguments of the class.
        others (bool): It takes others as well; then only what looks misspelled is named.
        owner (str): Name of the class.
        extra (Iterable[str]): Keys that are read by others.
    """
    known = {*names, *extra, 'type', '_scope_'}
    choices = sorted(known - {'type', '_scope_'})
    faults = []
    for key in config:
        if key not in known and (not others or nearest(str(key), choices, cutoff=0.85)):
            faults.append(f'{path}.{key} is no setting of {owner}. {_hint(str(key), choices)}')
    return faults


def ignored(path: str, config: Any, names: set[str], owner: str) -> list[str]:
    """Return a sentence for each key of a config that nothing reads and that does not look misspelled.

    For what is read key by key, where :func:`unknown` with ``others`` names the misspelled ones.
    """
    if not isinstance(config, dict):
        return []
    misspelled = ' '.join(unknown(path, config, names, True, owner))
    return [
        f'Nothing reads {path}.{key}; {owner} knows {", ".join(sorted(names))}.'
        for key in config
        if key not in names and f'{path}.{key} is' not in misspelled
    ]
