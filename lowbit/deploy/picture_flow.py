"""How values flow through a traced model, behind the views that only look at them otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lowbit.deploy.trace import Operation, Trace, Value


class Flow:
    """What flows in a trace: which operations work on data, and where their values come from behind views.

    `visible` are the operations that work on data, are no views, and make something. `users` are the indices of those
    that take each value (-1 stands for the model's output), and `around` the places that have other places inside.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._maker: dict[int, Operation] = {}
        data = {value.id for value in trace.values if value.kind == "input"}
        self.visible: list[Operation] = []
        self._data: set[int] = data
        for operation in trace.operations:
            made = self.made(operation)
            self._maker |= dict.fromkeys(made, operation)
            if data.isdisjoint(operation.inputs):
                continue
            data.update(made)
            if made and not operation.is_view:
                self.visible.append(operation)
        self._shown = {operation.index for operation in self.visible}
        self._seen_as = self._handed_on_as()
        self.users = self._users()
        places = {operation.layer for operation in trace.operations}
        self.around = {place for place in places if any(_inside(other, place) for other in places)}

    def made(self, operation: Operation) -> tuple[int, ...]:
        """Returns the values that an operation makes, whatever they are called."""
        return (*operation.outputs, *operation.aliases)

    def is_made(self, number: int) -> bool:
        """Says whether some operation makes a value."""
        return number in self._maker

    def sources(self, number: int) -> Iterable[int]:
        """Yields the data that a value is a view of, or the value itself."""
        maker = self._maker.get(number)
        if number not in self._data:
            return
        if maker is None or maker.index in self._shown:
            yield number
            return
        for given in maker.inputs:
            yield from self.sources(given)

    def taken(self, own: Sequence[Operation]) -> list[int]:
        """Returns the data that operations take from others."""
        made = {number for operation in own for number in self.made(operation)}
        found = (source for operation in own for number in operation.inputs for source in self.sources(number))
        return [number for number in dict.fromkeys(found) if number not in made]

    def weights(self, own: Sequence[Operation]) -> list[Value]:
        """Returns the weights that operations use, also those behind what is computed from weights alone."""
        found: dict[int, Value] = {}
        waiting = [number for operation in own for number in operation.inputs if number not in self._data]
        while waiting:
            number = waiting.pop()
            maker = self._maker.get(number)
            if maker is not None:
                waiting += maker.inputs
            elif self.trace.values[number].kind == "weight":
                found[self.trace.values[number].storage] = self.trace.values[number]
        return list(found.values())

    def fed(self, own: Sequence[Operation]) -> set[int]:
        """Returns the indices of the other operations that take what these make; -1 stands for the output."""
        made = (number for operation in own for number in self.made(operation))
        return {user for number in made for user in self.users.get(number, ())} - {operation.index for operation in own}

    def is_module(self, operation: Operation) -> bool:
        """Says whether an operation is a part of a module that calls no other."""
        return not (operation.is_function or operation.layer in self.around)

    def seen_as(self, number: int) -> Value:
        """Returns a value as the layer that made it hands it on: a matrix product is a view before it leaves."""
        return self.trace.values[self._seen_as.get(number, number)]

    def _handed_on_as(self) -> dict[int, int]:
        found = {}
        for operation in self.trace.operations:
            if operation.is_view and operation.outputs:
                for source in (source for number in operation.inputs for source in self.sources(number)):
                    maker = self._maker.get(source)
                    if maker is not None and maker.layer == operation.layer and len(operation.outputs) == 1:
                        found[source] = operation.outputs[0]
        return found

    def _users(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for operation in self.visible:
            for number in self.taken([operation]):
                found.setdefault(number, set()).add(operation.index)
        for result in self.trace.output:
            for number in self.sources(result):
                found.setdefault(number, set()).add(-1)
        return found


def _inside(other: str, place: str) -> bool:
    return other != place and (place == "" or other.startswith(f"{place}."))
