#!/usr/bin/env python3
"""Runs a program to which the kernel refuses one system call (EPERM), as containers do (seccomp).

    refuse_call.py NUMBER[:ARGUMENT=VALUE] PROGRAM [ARGUMENT...]

NUMBER is that of the call on this machine; with ARGUMENT, counted from 0, only calls whose argument
(its lower 32 bits) has this VALUE are refused.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, REFUSE_EPERM = 0x7FFF0000, 0x00050001
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARGUMENTS_AT = 0, 16     # in struct seccomp_data


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def filter_for(call):
    """Each instruction: code, jump if true, jump if false, value."""
    number, _, condition = call.partition(":")
    instructions = [(LOAD_WORD, 0, 0, NUMBER_AT),
                    (JUMP_IF_EQUAL, 0, 3 if condition else 1, int(number, 0))]
    if condition:
        argument, _, value = condition.partition("=")
        instructions += [(LOAD_WORD, 0, 0, ARGUMENTS_AT + 8 * int(argument, 0)),
                         (JUMP_IF_EQUAL, 0, 1, int(value, 0))]
    instructions += [(RETURN, 0, 0, REFUSE_EPERM), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *each) for each in instructions)


def main():
    code = filter_for(sys.argv[1])
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0):
        sys.exit(f"refuse_call.py: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
