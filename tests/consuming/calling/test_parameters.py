"""Annotations are resolved however they are written, or refused with the name that is missing."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from fastapi import Depends
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from convex_messaging_fastapi.consuming.calling import compile_call
from convex_messaging_fastapi.consuming.calling.parameters import parameters_of
from convex_messaging_fastapi.errors import DeclarationError
from convex_messaging_fastapi.records import Delivery
from tests.consuming.calling.conftest import Call

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

Alias = TypeAliasType("Alias", Annotated[str, Depends(lambda: "by alias")])


def types_of(function: Callable[..., Any]) -> list[Any]:
    return [parameter.type for parameter in parameters_of(function, "the function")]


def test_strings_may_name_local_classes_of_the_function_around_them() -> None:
    class Local(BaseModel):
        name: str

    async def handle(event: Local) -> None: ...

    message = compile_call(handle).decode(b'{"name": "x"}')
    assert message == Local(name="x")


def test_strings_may_name_what_stands_further_out() -> None:
    class Outer(BaseModel): ...

    def between() -> None:
        class Inner(BaseModel): ...

        class Handlers:
            async def handle(self, event: Outer, other: Inner = Inner()) -> None: ...  # noqa: B008

        assert types_of(Handlers().handle) == [Outer, Inner]

    between()


def test_strings_may_name_what_the_function_itself_uses_after_its_surroundings_have_returned() -> None:
    def factory() -> Callable[..., Any]:
        class Local(BaseModel): ...

        async def handle(event: Local) -> None:
            Local()

        return handle

    assert [type_.__name__ for type_ in types_of(factory())] == ["Local"]


def test_a_variable_that_has_no_value_yet_is_no_obstacle() -> None:
    async def handle(event: int) -> None:
        later()

    assert types_of(handle) == [int]

    def later() -> None: ...


def test_a_wrapper_from_elsewhere_does_not_hide_where_a_handler_was_written() -> None:
    elsewhere = ModuleType("elsewhere")
    exec(  # noqa: S102
        "import functools\n"
        "def decorate(f):\n"
        "    @functools.wraps(f)\n"
        "    def wrapper(*a, **k): return f(*a, **k)\n"
        "    return wrapper\n",
        elsewhere.__dict__,
    )

    async def handle(event: Delivery, it: Optional[Delivery] = None) -> None: ...  # noqa: UP045

    assert types_of(functools.partial(elsewhere.decorate(handle))) == [Delivery, Delivery]


def test_classes_and_objects_are_read_where_they_were_written() -> None:
    @dataclass
    class Settings:
        delivery: Delivery

    class Callee:
        def __call__(self, delivery: Delivery | None) -> None: ...

    assert types_of(Settings) == [Delivery]
    assert types_of(Callee()) == [Delivery]


def test_a_dataclass_of_another_module_is_read_there() -> None:
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom decimal import Decimal\n"
        "@dataclass\nclass Price:\n    amount: Decimal\n"
    )
    elsewhere = ModuleType("convex_tests_elsewhere")
    sys.modules["convex_tests_elsewhere"] = elsewhere
    try:
        exec(source, elsewhere.__dict__)  # noqa: S102
        assert [t.__name__ for t in types_of(elsewhere.Price)] == ["Decimal"]
    finally:
        del sys.modules["convex_tests_elsewhere"]


def test_a_choice_of_types_is_a_type_of_its_own() -> None:
    async def handle(event: int | str | None, other: Annotated[int | None, "note"] = None) -> None: ...

    assert types_of(handle) == [int | str | None, int]


async def test_an_alias_carries_its_dependency(call: Call) -> None:
    seen: list[str] = []

    async def handle(event: str, a: Alias) -> None:
        seen.append(a)

    await call(handle)
    assert seen == ["by alias"]


async def test_a_dependency_inside_an_optional_is_found(call: Call) -> None:
    seen: list[object] = []

    async def handle(event: str, a: Annotated[str | None, Depends(lambda: "here")] = None) -> None:
        seen.append(a)

    await call(handle)
    assert seen == ["here"]


def test_a_name_that_exists_only_for_type_checkers_is_refused_clearly() -> None:
    async def handle(event: OnlyForTypeCheckers) -> None: ...

    sentence = (
        "the annotation 'OnlyForTypeCheckers' of parameter 'event' of handler handle cannot be resolved: "
        "name 'OnlyForTypeCheckers' is not defined. Import what it names at the top of the module, "
        "not only under `if TYPE_CHECKING:`"
    )
    with pytest.raises(DeclarationError) as refused:
        compile_call(handle)
    assert str(refused.value) == sentence


class Annotated314:
    """A function whose annotations are run when its signature is asked for, as Python 3.14 does."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def __signature__(self) -> Any:
        raise self._error

    async def __call__(self, event: int) -> None: ...


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NameError("no Bet"), r"the annotations of handler .*314.* no Bet\. Import what it names at the top"),
        (LookupError("no Bet"), "the parameters of handler .*314.* cannot be read: no Bet"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_annotations_that_are_code_may_raise_anything(error: Exception, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        compile_call(Annotated314(error))


def test_what_a_handler_returns_need_not_be_resolvable() -> None:
    async def handle(event: int) -> OnlyForTypeCheckers:
        raise NotImplementedError

    assert types_of(handle) == [int]


def test_a_callable_without_a_signature_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"the parameters of handler dict\.pop cannot be read"):
        compile_call({}.pop)
