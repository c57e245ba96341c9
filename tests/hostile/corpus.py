"""All cases, in the order of their names' modules."""

from tests.hostile import (
    bombs,
    endings,
    escapes,
    files,
    forged_answers,
    forged_messages,
    honest,
    honest_answers,
    kernel_tricks,
    leaks,
    room_attacks,
    slow_to_show,
    structure,
    triton_tricks,
)
from tests.hostile.case import Case

ATTACKS: list[Case] = [case for module in (kernel_tricks, forged_answers, structure, files, escapes, leaks,
                                           forged_messages, endings, bombs,
                                           room_attacks, slow_to_show, triton_tricks) for case in module.CASES]
HONEST: list[Case] = honest_answers.CASES + honest.CASES + triton_tricks.ODD


def chosen(names: list[str], cases: list[Case]) -> list[Case]:
    """The cases with these names; all of them if there are none.  Raises SystemExit on a name that is not there."""
    unknown = set(names) - {case.name for case in cases}
    if unknown:
        raise SystemExit(f"There is no case {', '.join(sorted(unknown))}.")
    return [case for case in cases if not names or case.name in names]
