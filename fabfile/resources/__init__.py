"""Resources that know a subject; those that every server has are in `kit.resources`.

conda           a conda prefix, installed or removed
conda_packages  packages of conda's base environment, their updates, ``conda init``
conda_terms     terms of service to accept before a download
installers      known versions and checksums of Anaconda, Miniconda and Miniforge (no resources)
pip             virtual environments, packages that pip installs, their updates
jupyter         Jupyter's password file and the settings that it has loaded
apt             package upgrades and release upgrades
apache          modules, sites and configuration of Apache
tls             self-signed certificates and copies of certificates
certbot         certificates from an ACME server
renewal         what happens after a renewal, and certificates to remove
reach           whether the world reaches the server for an ACME challenge
startup         what a login of the user runs
sshd            effective settings of sshd, and known host keys
ufw             the firewall and its rules
"""

from .apache import (
    ApacheConf,
    ApacheDisabled,
    ApacheInclude,
    ApacheModule,
    ApacheSite,
    ServedCertificate,
)
from .apt import PackagesUpgraded, ReleaseUpgraded
from .certbot import AcmeCertificate, CertificateAuthorityAbsent, ChallengeProbe, RenewedCertificate
from .conda import CondaAbsent, CondaPrefix
from .conda_packages import CondaInit, CondaPackages, CondaUpdates
from .conda_terms import Agreement, ChannelTerms, Terms
from .jupyter import LoadedSettings, PasswordFile
from .pip import PipPackages, PipUpdates, Venv
from .renewal import CertbotAutorenew, CertbotCertAbsent
from .sshd import KnownHostKey, SshdSettings
from .startup import StartupFiles
from .tls import CertificateCopy, CertificateCopyAbsent, SelfSigned
from .ufw import UfwEnabled, UfwIpv6, UfwOnly, UfwRule

__all__ = [
    "AcmeCertificate",
    "Agreement",
    "ApacheConf",
    "ApacheDisabled",
    "ApacheInclude",
    "ApacheModule",
    "ApacheSite",
    "CertbotAutorenew",
    "CertbotCertAbsent",
    "CertificateAuthorityAbsent",
    "CertificateCopy",
    "CertificateCopyAbsent",
    "ChallengeProbe",
    "ChannelTerms",
    "CondaAbsent",
    "CondaInit",
    "CondaPackages",
    "CondaPrefix",
    "CondaUpdates",
    "KnownHostKey",
    "LoadedSettings",
    "PackagesUpgraded",
    "PasswordFile",
    "PipPackages",
    "PipUpdates",
    "ReleaseUpgraded",
    "RenewedCertificate",
    "SelfSigned",
    "ServedCertificate",
    "SshdSettings",
    "StartupFiles",
    "Terms",
    "UfwEnabled",
    "UfwIpv6",
    "UfwOnly",
    "UfwRule",
    "Venv",
]
