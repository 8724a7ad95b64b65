"""TODO."""

from .base import Handler, Resource
from .check import Check
from .directory import Directory
from .download import Download, DownloadBegun, Source
from .file import MARK, File, FileAbsent, MovedAside, Withdrawn
from .package import Package
from .service import Service
from .upload import Upload
from .user import AuthorizedKeys, User, UserAbsent, UserLocked

__all__ = [
    "FileAbsent",
    "AuthorizedKeys",
    "Check",
    "Directory",
    "Download",
    "DownloadBegun",
    "File",
    "Handler",
    "UserLocked",
    "MARK",
    "MovedAside",
    "UserAbsent",
    "Package",
    "Resource",
    "Service",
    "Source",
    "Upload",
    "User",
    "Withdrawn",
]
