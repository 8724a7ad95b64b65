"""The kinds of resources."""

from .acme import AcmeCertificate, ChallengeProbe, RenewedCertificate
from .apache import ApacheConf, ApacheInclude, ApacheModule, ApacheOff, ApacheSite, ServedCertificate
from .base import Handler, Resource
from .certificate import SelfSigned
from .check import Check
from .conda import CondaPrefix, CondaRemoved
from .conda_base import CondaInit, CondaPackages, CondaUpdates
from .copy import CertificateCopy, NoCopy
from .directory import Directory
from .download import Download, DownloadBegun, Source
from .file import MARK, Absent, File
from .lineage import NoLineage, Renewal
from .moved import MovedAside
from .package import Package
from .password import PasswordFile
from .python import PipPackages, PipUpdates, Venv
from .service import Service
from .sshd import SshdSettings
from .terms import Agreement, ChannelTerms, Terms
from .ufw import UfwEnabled, UfwOnly, UfwRule
from .upgrade import NewRelease, Upgraded
from .upload import Upload
from .user import AuthorizedKeys, Locked, NoUser, User
from .withdrawn import Withdrawn

__all__ = [
    "MARK",
    "Absent",
    "AcmeCertificate",
    "Agreement",
    "ApacheConf",
    "ApacheInclude",
    "ApacheModule",
    "ApacheOff",
    "ApacheSite",
    "AuthorizedKeys",
    "CertificateCopy",
    "ChallengeProbe",
    "ChannelTerms",
    "Check",
    "CondaInit",
    "CondaPackages",
    "CondaPrefix",
    "CondaRemoved",
    "CondaUpdates",
    "Directory",
    "Download",
    "DownloadBegun",
    "File",
    "Handler",
    "Locked",
    "MovedAside",
    "NewRelease",
    "NoCopy",
    "NoLineage",
    "NoUser",
    "Package",
    "PasswordFile",
    "PipPackages",
    "PipUpdates",
    "Renewal",
    "RenewedCertificate",
    "Resource",
    "SelfSigned",
    "ServedCertificate",
    "Service",
    "Source",
    "SshdSettings",
    "Terms",
    "UfwEnabled",
    "UfwOnly",
    "UfwRule",
    "Upgraded",
    "Upload",
    "User",
    "Venv",
    "Withdrawn",
]
