"""What a run was like for those in the call: how soon all had keys, how long a leaver could listen, who was deaf.

The same measure for every scheme, from its `Record` and the trace alone:

* A *pair* is a listener and a speaker who are both in the call. It is *deaf* while the speaker does not send under a
  key that the listener can open by then, be it that the key is late or that the speaker has none.
* A *join* is done when the joiner and everybody who was there have each other's keys and send under them.
* A *leave* is done when everybody who stays sends under a key that the leaver cannot open, and all who stay can.
* A leaver *listens* until the last of those who stay sends under such a key; it is taken to keep every key it had.
* Who drops out without a word is nobody to be locked out: a drop is no leave here, though what follows from it counts.

What does not come about before the trace ends is told as never.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlsrtc.simulate.record import CLEAR, Key, Record
from mlsrtc.simulate.trace import Stay, Trace

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Spread:
    """Of several times: how many, the nearest-rank percentiles, the greatest, and how many never came about."""

    count: int
    p50: float
    p95: float
    most: float
    never: int

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """`NEVER` counts as greater than any other."""
        ordered = sorted(values)
        if not ordered:
            return Spread(0, 0.0, 0.0, 0.0, 0)
        rank = {percent: max(0, math.ceil(len(ordered) * percent / 100) - 1) for percent in (50, 95)}
        never = sum(value == NEVER for value in ordered)
        return Spread(len(ordered), ordered[rank[50]], ordered[rank[95]], ordered[-1], never)


@dataclass(frozen=True, slots=True)
class Measures:
    """Seconds. `deaf`: summed over all pairs; `deaf_share`: of all the time that pairs were there; `deafest`: the pair
    with the most. `clear_share`: of all the time that anybody was there, what was sent without encryption."""

    join_to_keys: Spread
    leave_to_keys: Spread
    listening: Spread
    deaf: float
    deaf_share: float
    deafest: float
    clear_share: float


def measure(record: Record, trace: Trace) -> Measures:
    """The measures of a whole run."""
    return Measurer(record, trace).all()


class Measurer:
    """Asks one record."""

    def __init__(self, record: Record, trace: Trace) -> None:
        self._record = record
        self._stays = trace.stays
        self._end = trace.seconds
        self._since = 0.0

    def all(self) -> Measures:
        """Everything."""
        deaf = self.deafness()
        total = sum(deaf.values())
        together = sum(
            max(0.0, min(one.ends, other.ends) - max(one.begins, other.begins)) * 2
            for number, one in enumerate(self._stays)
            for other in self._stays[number + 1 :]
        )
        leaves = [number for number, stay in enumerate(self._stays) if not stay.stays and not stay.drops]
        return Measures(
            Spread.of([value for stay in range(len(self._stays)) if (value := self.join_to_keys(stay)) is not None]),
            Spread.of([value for stay in leaves if (value := self.leave_to_keys(stay)) is not None]),
            Spread.of([value for stay in leaves if (value := self.listening(stay)) is not None]),
            total,
            total / together if together else 0.0,
            max(deaf.values(), default=0.0),
            self.clear_share(),
        )

    def clear_share(self) -> float:
        """Of all the time that anybody was there, the share that was sent in the clear."""
        spans = [span for speaker in range(len(self._stays)) for span in self._sending(speaker)]
        there = sum(stay.ends - max(0.0, stay.begins) for stay in self._stays)
        return sum(ends - begins for begins, ends, key in spans if key == CLEAR) / there if there else 0.0

    # -- one change --

    def join_to_keys(self, joiner: int) -> float | None:
        """Seconds until the joiner and all who were there hear each other. None: nobody was there, or one of them left
        first."""
        begins, ends = self._stays[joiner].begins, self._stays[joiner].ends
        last = begins
        others = [other for other in self._present(begins) if other != joiner]
        for other in others:
            until = min(ends, self._stays[other].ends)
            for listener, speaker in ((joiner, other), (other, joiner)):
                heard = self._first_heard(listener, speaker, begins, until)
                if heard == NEVER:
                    if until < self._end:
                        continue  # one of the two left before: its leave has its own figures
                    return NEVER
                last = max(last, heard)
        return last - begins if others else None

    def leave_to_keys(self, leaver: int) -> float | None:
        """Seconds until all who stay send under keys that the leaver cannot open, and can open each other's. None:
        nobody stays."""
        moment = self._stays[leaver].ends
        staying = [stay for stay in self._present(moment) if stay != leaver]
        last = moment
        for speaker in staying:
            freed, key = self._freed(speaker, leaver, moment)
            if freed == NEVER:
                return NEVER
            last = max(last, freed)
            if key is None:
                continue
            held = self._record.held.get(key, {})
            for listener in staying:
                if listener != speaker and self._stays[listener].ends > freed:
                    opened = held.get(listener, NEVER)
                    if opened >= self._stays[listener].ends and self._stays[listener].ends < self._end:
                        continue  # it left before
                    last = max(last, opened)
        return last - moment if staying else None

    def listening(self, leaver: int) -> float | None:
        """Seconds until nobody sends any more what the leaver can open. None: nobody stays."""
        moment = self._stays[leaver].ends
        staying = [stay for stay in self._present(moment) if stay != leaver]
        if not staying:
            return None
        return max(self._freed(speaker, leaver, moment)[0] for speaker in staying) - moment

    def _freed(self, speaker: int, leaver: int, moment: float) -> tuple[float, Key | None]:
        """When a speaker sends nothing any more that a leaver can open, and under which key then (None: it is gone or
        silent)."""
        for begins, ends, key in self._sending(speaker):
            if ends > moment and (key is None or not self._record.opens(leaver, key)):
                return max(begins, moment), key
        stay = self._stays[speaker]
        return (NEVER if stay.stays else stay.ends), None

    def _first_heard(self, listener: int, speaker: int, since: float, until: float) -> float:
        for begins, ends, key in self._sending(speaker):
            if key is None or ends <= since:
                continue
            heard = max(begins, since, self._record.held[key].get(listener, NEVER))
            if heard < min(ends, until):
                return heard
        return NEVER

    def _sending(self, speaker: int) -> Iterator[tuple[float, float, Key | None]]:
        """The intervals in which a stay sends: from, to, and the key."""
        ends = self._stays[speaker].ends
        switches = self._record.switches.get(speaker, [])
        for number, (begins, key) in enumerate(switches):
            until = switches[number + 1][0] if number + 1 < len(switches) else ends
            if begins < ends:
                yield begins, min(until, ends), key

    def _present(self, moment: float) -> list[int]:
        """Who is in the call, without those who begin or end just then."""
        return [
            number
            for number, stay in enumerate(self._stays)
            if stay.begins < moment < stay.ends or (stay.stays and stay.begins < moment <= stay.ends)
        ]

    # -- deafness --

    def deafness(self, since: float = 0.0) -> dict[tuple[int, int], float]:
        """Seconds of deafness by listener and speaker; pairs that had none are not in it. What was before `since` does
        not count."""
        found: dict[tuple[int, int], float] = defaultdict(float)
        intervals: dict[Key, list[tuple[int, float, float]]] = defaultdict(list)
        silent: list[tuple[int, float, float]] = []
        self._since = since
        for speaker, stay in enumerate(self._stays):
            begun = stay.begins
            for begins, ends, key in self._sending(speaker):
                if begins > begun:
                    silent.append((speaker, begun, begins))
                if key is None:
                    silent.append((speaker, begins, ends))
                else:
                    intervals[key].append((speaker, begins, ends))
                begun = ends
            if begun < stay.ends:
                silent.append((speaker, begun, stay.ends))
        everybody = list(range(len(self._stays)))
        for speaker, begins, ends in silent:
            self._add(found, speaker, begins, ends, everybody, {})
        for key, spans in intervals.items():
            held = self._record.held.get(key, {})
            first, last = min(span[1] for span in spans), max(span[2] for span in spans)
            late = [
                listener
                for listener, stay in enumerate(self._stays)
                if stay.begins < last and stay.ends > first and held.get(listener, NEVER) > max(first, stay.begins)
            ]
            if late:
                for speaker, begins, ends in spans:
                    self._add(found, speaker, begins, ends, late, held)
        return found

    def _add(
        self,
        found: dict[tuple[int, int], float],
        speaker: int,
        begins: float,
        ends: float,
        listeners: Sequence[int],
        held: dict[int, float],
    ) -> None:
        for listener in listeners:
            if listener != speaker:
                stay: Stay = self._stays[listener]
                seconds = min(ends, stay.ends, held.get(listener, NEVER)) - max(begins, stay.begins, self._since)
                if seconds > 0:
                    found[listener, speaker] += seconds
