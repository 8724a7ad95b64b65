"""The kinds of resources."""

from .apache import ApacheConf, ApacheModule, ApacheSite, ServedCertificate
from .base import Handler, Resource
from .certificate import SelfSigned
from .check import Check
from .directory import Directory
from .file import MARK, File
from .package import Package
from .password import PasswordFile
from .python import PipPackages, Venv
from .service import Service
from .sshd import SshdSettings
from .ufw import UfwEnabled, UfwOnly, UfwRule
from .user import AuthorizedKeys, User

__all__ = [
    "MARK",
    "ApacheConf",
    "ApacheModule",
    "ApacheSite",
    "AuthorizedKeys",
    "Check",
    "Directory",
    "File",
    "Handler",
    "Package",
    "PasswordFile",
    "PipPackages",
    "Resource",
    "SelfSigned",
    "ServedCertificate",
    "Service",
    "SshdSettings",
    "UfwEnabled",
    "UfwOnly",
    "UfwRule",
    "User",
    "Venv",
]
