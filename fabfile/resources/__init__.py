"""TODO."""

from .apache import (
    ApacheConf,
    ApacheInclude,
    ApacheModule,
    ApacheOff,
    ApacheSite,
    ServedCertificate,
)
from .apt import NewRelease, PackagesUpgraded
from .certbot import AcmeCertificate, ChallengeProbe, RenewedCertificate
from .conda import CondaPrefix, CondaRemoved
from .conda_packages import CondaInit, CondaPackages, CondaUpdates
from .conda_terms import Agreement, ChannelTerms, Terms
from .jupyter import LoadedSettings, PasswordFile
from .pip import PipPackages, PipUpdates, Venv
from .renewal import CertbotCertAbsent, Renewal
from .sshd import KnownHostKey, SshdSettings
from .tls import CertificateCopy, NoCopy, SelfSigned
from .ufw import UfwEnabled, UfwOnly, UfwRule

__all__ = [
    "AcmeCertificate",
    "Agreement",
    "ApacheConf",
    "ApacheInclude",
    "ApacheModule",
    "ApacheOff",
    "ApacheSite",
    "CertificateCopy",
    "ChallengeProbe",
    "ChannelTerms",
    "CondaInit",
    "CondaPackages",
    "CondaPrefix",
    "CondaRemoved",
    "CondaUpdates",
    "KnownHostKey",
    "LoadedSettings",
    "NewRelease",
    "NoCopy",
    "CertbotCertAbsent",
    "PasswordFile",
    "PipPackages",
    "PipUpdates",
    "Renewal",
    "RenewedCertificate",
    "SelfSigned",
    "ServedCertificate",
    "SshdSettings",
    "Terms",
    "UfwEnabled",
    "UfwOnly",
    "UfwRule",
    "PackagesUpgraded",
    "Venv",
]
