"""The resources that know no subject, and the base of all others."""

from .base import Handler, Resource
from .check import Check
from .directory import Directory
from .download import Download, DownloadBegun, Source
from .file import MARK, File, FileAbsent, MovedAside
from .package import Package
from .service import Service
from .upload import Upload
from .user import AuthorizedKeys, User, UserAbsent, UserLocked

__all__ = [
    "AuthorizedKeys",
    "Check",
    "Directory",
    "Download",
    "DownloadBegun",
    "File",
    "FileAbsent",
    "Handler",
    "MARK",
    "MovedAside",
    "Package",
    "Resource",
    "Service",
    "Source",
    "Upload",
    "User",
    "UserAbsent",
    "UserLocked",
]
