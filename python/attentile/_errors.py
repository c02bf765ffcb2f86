# SPDX-License-Identifier: Apache-2.0
"""What is raised: the library's status as a class, its message as the text."""
from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """atl_status: what went wrong."""

    INVALID_ARGUMENT = 1
    OUT_OF_MEMORY = 2
    UNSUPPORTED = 3
    SYSTEM_ERROR = 4
    IO_ERROR = 5
    BAD_FORMAT = 6


class Error(RuntimeError):
    """A call failed. The text says what was expected and what came; nothing was changed."""

    status: Status | None = None


class InvalidArgument(Error, ValueError):
    """An argument, a shape, a parameter or an environment variable is wrong."""

    status = Status.INVALID_ARGUMENT


class OutOfMemory(Error, MemoryError):
    """An allocation failed, or a size cannot be represented."""

    status = Status.OUT_OF_MEMORY


class Unsupported(Error):
    """This machine or this build lacks what was asked for."""

    status = Status.UNSUPPORTED


class SystemFailure(Error):
    """The operating system refused threads, or to say what the machine is."""

    status = Status.SYSTEM_ERROR


class FileFailure(Error, OSError):
    """A file could not be read."""

    status = Status.IO_ERROR


class BadFormat(Error, ValueError):
    """A file's contents are not what the format demands."""

    status = Status.BAD_FORMAT


_CLASSES = {c.status: c for c in (InvalidArgument, OutOfMemory, Unsupported, SystemFailure, FileFailure, BadFormat)}


def make_error(status: int, message: str) -> Error:
    """The exception for an atl_status; one that this package does not know is a plain Error."""
    return next((kind for known, kind in _CLASSES.items() if known == status), Error)(message)
