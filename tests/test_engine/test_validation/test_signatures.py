"""Argument names along the bases of a class."""

from mmrest.engine.validation.signatures import arguments


def test_arguments_follow_kwargs_along_the_bases():
    class Base:
        def __init__(self, a, b=1):
            pass

    class Open(Base):
        def __init__(self, c, **kwargs):
            super().__init__(**kwargs)

    class Swallows:
        def __init__(self, d, **kwargs):
            pass

    assert arguments(Base) == ({'a', 'b'}, False)
    assert arguments(Open) == ({'a', 'b', 'c'}, False)
    assert arguments(Swallows) == ({'d'}, True)
    assert arguments(type('Empty', (), {})) == (set(), False)
    assert arguments(lambda x, *, y: None) == ({'x', 'y'}, False)
