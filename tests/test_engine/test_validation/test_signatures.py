"""Argument names along the bases of a class."""

from mmrest.engine.validation.signatures import get_parameters


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

    assert get_parameters(Base) == ({'a', 'b'}, False)
    assert get_parameters(Open) == ({'a', 'b', 'c'}, False)
    assert get_parameters(Swallows) == ({'d'}, True)
    assert get_parameters(type('Empty', (), {})) == (set(), False)
    assert get_parameters(lambda x, *, y: None) == ({'x', 'y'}, False)
