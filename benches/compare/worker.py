"""The process of one library: takes cases on standard input, answers with times.

A line in is JSON, `{"prepare": [kind, arguments]}` or `{"measure": seconds}`, or for a training
`{"learn": {...}}` (the arguments of `Lesson`) and `{"epoch": whether to test}`; a line out is JSON
too. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def serve(library: str, form: str, threads: int) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers)

    from benches.compare.lesson import Lesson
    from benches.compare.libraries import load
    from benches.compare.libraries.base import NotOfferedError, measure

    start = time.perf_counter()
    try:
        subject: Any = load(library, form, threads)
    except ImportError as error:
        return answer(missing=str(error))
    seconds = time.perf_counter() - start
    answer(description=subject.describe(), import_seconds=seconds)
    run: Any = None
    lesson: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                run = None  # the memory of the last case goes first
                run = subject.prepare(*request["prepare"])
                run()  # compiles, where there is something to compile
                answer(ready=True)
            elif "learn" in request:
                lesson = Lesson(subject, **request["learn"])
                answer(ready=True, **lesson.start)
            elif "epoch" in request:
                answer(**lesson.epoch(request["epoch"]))
            else:
                answer(seconds=measure(run, request["measure"]))
        except NotOfferedError as reason:
            answer(ready=False, reason=str(reason))
        except Exception as error:
            run = None
            answer(ready=False, reason=f"{type(error).__name__}: {error}"[:300], failed=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
