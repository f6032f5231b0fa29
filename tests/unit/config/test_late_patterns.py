"""Patterns that are compiled late match the same texts."""

import json
import subprocess
import sys
from typing import Any

from tests.support.tools import REPOSITORY_ROOT

PROGRAM = """
import contextlib, json, re, sys
from config.late_patterns import patterns_compiled_late

compiled, compile_at_once = [], re.compile

def record(pattern, flags=0):
    compiled.append(pattern)
    return compile_at_once(pattern, flags)

re.compile = record
with patterns_compiled_late() if "late" in sys.argv else contextlib.nullcontext():
    import marshmallow
    theirs = re.compile("another module")

def result(call, *arguments):
    try:
        return str(call(*arguments))
    except Exception as error:
        return str(error)

seen = set(compiled)
email = marshmallow.validate.Email()
patterns = [email.USER_REGEX, email.DOMAIN_REGEX]
print(json.dumps([
    [each.pattern in seen for each in [*patterns, theirs]],
    [each.pattern for each in patterns],
    [result(email, text) for text in ("a@b.cn", "a b@c.cn", "a@-b", "用户@例子.中国", "a@localhost")],
]))
"""


def results(*words: str) -> list[Any]:
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, capture_output=True, text=True)
    found: list[Any] = json.loads(done.stdout)
    return found


def test_late_patterns_match_the_same() -> None:
    are_compiled, *late = results("late")
    assert are_compiled == [False, False, True]
    expected, *at_once = results()
    assert expected == [True] * 3
    assert late == at_once
