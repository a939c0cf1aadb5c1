"""Parameters of registered classes, and messages about keys that do not match them."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Callable, Iterable, Iterator, Sequence

from mmengine.registry import Registry

# Classes of mmengine that pass **kwargs to a function that accepts none of them.
NO_KWARGS = ('CheckpointHook',)


def find_class(registry: Registry, kind: Any, scope: str | None) -> Callable | None:
    """Return the class of a ``type`` in a config.

    Args:
        registry (Registry): Root registry of mmengine.
        kind (str | Callable): Registered name, or the class itself.
        scope (str, optional): Default scope of names without one.

    Returns:
        Callable | None: None if the name is not registered.

    Raises:
        ImportError: The library of the class, or one that it imports, is not installed.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    with registry.switch_scope_and_registry(scope) as scoped:
        return scoped.get(kind)


def _registered_names(registry: Registry, scope: str | None) -> set[str]:
    """Return all names that a registry resolves from a scope."""
    names: set[str] = set()
    with registry.switch_scope_and_registry(scope) as scoped:
        while scoped is not None:
            names |= set(scoped.module_dict)
            scoped = scoped.parent
    return names


def listed(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    """Yield a config, or each config in a list, with its dotted path."""
    if isinstance(value, dict):
        yield path, value
    for number, each in enumerate(value) if isinstance(value, (list, tuple)) else ():
        if isinstance(each, dict):
            yield f'{path}.{number}', each


def get_parameters(kind: Callable) -> tuple[set[str], bool]:
    """Return the parameter names of a class or function, and True if it accepts other keyword arguments as well.

    ``**kwargs`` of a class are assumed to be passed to the next ``__init__`` in its MRO.
    """
    names: set[str] = set()
    if not inspect.isclass(kind):
        return names, _add_parameters(kind, names)
    for base in kind.__mro__:
        if base is not object and '__init__' in vars(base):
            if not _add_parameters(base.__init__, names) or base.__name__ in NO_KWARGS:
                return names - {'self'}, False
    # Without any __init__, nothing is accepted; otherwise the last class in the MRO uses its **kwargs itself.
    return names - {'self'}, bool(names)


def _add_parameters(function: Callable, names: set[str]) -> bool:
    """Add the keyword parameters of a function to ``names``; return True if it has ``**kwargs``."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled function without a signature
        return True
    names |= {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    return any(each.kind is each.VAR_KEYWORD for each in parameters)


def closest_match(name: str, names: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Return the name that differs in case only, else the most similar one (``difflib``), if similar enough."""
    others = sorted(set(names) - {name})
    same = [other for other in others if other.lower() == str(name).lower()]
    close = difflib.get_close_matches(str(name), same or others, n=1, cutoff=0.0 if same else cutoff)
    return close[0] if close else None


def _list_names(names: Sequence[str], max_names: int = 12) -> str:
    """Return a sentence with the available names."""
    if not names:
        return 'It takes none.'
    return f'It takes {", ".join(names[:max_names])}{", ..." if len(names) > max_names else ""}.'


def describe_unregistered(path: str, kind: Any, registry: Registry, scope: str | None) -> str:
    """Return the error message for a type that is not registered."""
    close = closest_match(str(kind).rsplit('.', 1)[-1], _registered_names(registry, scope))
    hint = f'Did you mean {close}?' if close else 'Add the module that registers it to custom_imports.'
    return f'{path} is {kind!r}, which is not registered in {registry.name}s. {hint}'


def describe_unknown(
    path: str, config: dict, names: set[str], has_kwargs: bool, owner: str, extra: Iterable[str] = ()
) -> list[str]:
    """Return an error message for each misspelled key of a config, and one for all others that its class does not take.

    Args:
        path (str): Dotted path of the config.
        config (dict): Config to validate.
        names (set[str]): Parameters of the class.
        has_kwargs (bool): The class accepts other keyword arguments; report only keys that look misspelled.
        owner (str): Name of the class.
        extra (Iterable[str]): Additional keys that are read elsewhere.
    """
    known = {*names, *extra, 'type', '_scope_'}
    choices = sorted(known - {'type', '_scope_'})
    errors, others = [], []
    for key in config:
        if key in known or has_kwargs and not closest_match(str(key), choices, cutoff=0.85):
            continue
        close = closest_match(str(key), choices)
        if close:
            errors.append(f'{path}.{key} is not a setting of {owner}. Did you mean {close}?')
        else:
            others.append(str(key))
    if others:
        what = f'{path}.{others[0]} is not a setting'
        if len(others) > 1:
            what = f'{path}: {", ".join(others[:-1])} and {others[-1]} are not settings'
        # Typical of a type that was exchanged while the other settings are inherited.
        hint = f' If the config inherits {"them" if others[1:] else "it"}, add _delete_=True to {path}.'
        errors.append(f'{what} of {owner}. {_list_names(choices)}{hint if "type" in config else ""}')
    return errors


def describe_ignored(path: str, config: Any, names: set[str], owner: str) -> list[str]:
    """Return a warning for each unknown key of a config that does not look misspelled.

    Complements :func:`describe_unknown` with ``has_kwargs=True``.
    """
    if not isinstance(config, dict):
        return []
    misspelled = ' '.join(describe_unknown(path, config, names, True, owner))
    return [
        f'Nothing reads {path}.{key}; {owner} knows {", ".join(sorted(names))}.'
        for key in config
        if key not in names and f'{path}.{key} is' not in misspelled
    ]
