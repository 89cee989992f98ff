"""Finds the answer that a request means, if it is its owner's.

Knows no statuses: an answer that is unknown, expired or another owner's is None, all the same.
"""

from __future__ import annotations

from .answer import Answer
from .answer_table import AnswerTable
from .identity import key_of, new_id, owner_digest, same_owner
from .log import Log
from .page_events import page_of

NO_EVENTS = 10**15
"""The number of an event that no answer has."""


def find_owned(answers: AnswerTable, log: Log, answer_id: str, owner: str) -> Answer | None:
    """The owner's answer, brought up to date from the log; None for any other.

    Args:
        answers: Those that this process has in memory.
        log: Has the others.
        answer_id: As the request says.
        owner: As the view says.

    Raises:
        ConfigError: The owner is empty or no str.
        LogError: The log is down, and the answer is not of this process.
    """
    owned_by, key = owner_digest(owner), key_of(answer_id)
    with answers.lock:
        answer = answers.get(key)
    if answer is not None and not answer.is_mirror and same_owner(answer.owner, owned_by):
        return answer
    # All but the owner wait for this, and it takes no longer for a long answer.
    record = log.read(key, NO_EVENTS)
    is_mine = same_owner(record.owner if record else owner_digest(new_id()), owned_by)
    if answer is not None and not same_owner(answer.owner, owned_by):
        return None  # here another owner began one with this id while the log was down
    return _look_up(answers, log, key, answer) if is_mine else None


def _look_up(answers: AnswerTable, log: Log, key: str, mirror: Answer | None) -> Answer | None:
    known = len(mirror.events) if mirror else 0
    record = log.read(key, known)
    if record is None:
        return None
    with answers.lock:
        answer = mirror or Answer(key, record.owner, page_of(record.events), answers.lock)
        if not answer.end:
            answer.adopt(record, known)
        return answer
