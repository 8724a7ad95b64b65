"""TODO."""

from .base import Handler, Resource
from .check import Check
from .directory import Directory
from .download import Download, DownloadBegun, Source
from .file import MARK, Absent, File, MovedAside, Withdrawn
from .package import Package
from .service import Service
from .upload import Upload
from .user import AuthorizedKeys, Locked, NoUser, User

__all__ = [
    "Absent",
    "AuthorizedKeys",
    "Check",
    "Directory",
    "Download",
    "DownloadBegun",
    "File",
    "Handler",
    "Locked",
    "MARK",
    "MovedAside",
    "NoUser",
    "Package",
    "Resource",
    "Service",
    "Source",
    "Upload",
    "User",
    "Withdrawn",
]
