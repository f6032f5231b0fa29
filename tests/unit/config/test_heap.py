"""The heap of a process that receives uploads."""

import platform
import subprocess
import sys

ROUNDS = 10

PROGRAM = f"""
import resource, sys
from config.container.surroundings import new_hasher
if "hash" in sys.argv:
    new_hasher("sha256", None)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def receive():
    pieces = [bytes([number]) * 200_000 for number in range(12)]
    del pieces
for _ in range(3):
    receive()
before = faults()
for _ in range({ROUNDS}):
    receive()
print(faults() - before)
"""


def faults_of(*arguments):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_bodies_after_the_first_need_no_new_pages(unavailable):
    if platform.libc_ver()[0] != "glibc":
        unavailable("this C library has no such options")
    pages_of_a_body = 12 * 200_000 // 4096
    assert faults_of("hash") < ROUNDS * pages_of_a_body / 10
    # Without the options, each body needs new pages.
    assert faults_of() > ROUNDS * pages_of_a_body / 2
