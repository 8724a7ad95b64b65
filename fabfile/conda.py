"""Python, with JupyterLab and the classic notebook."""

from .kit.resources import Package, PipPackages, Venv
from .options import jupyter_service, login_user, prefix, setup


@setup(user="user.name", distribution="python.distribution", prefix="python.prefix", packages="python.packages")
def install_anaconda(c, s):
    """Give the login user a Python with JupyterLab and the classic notebook."""
    yield Package("python3-venv", lock_timeout=s.apt.lock_timeout)
    yield login_user(s)
    yield Venv(prefix(s), s.user.name)
    # A server that runs already would go on with what it has loaded.
    yield PipPackages(prefix(s), s.user.name, s.python.packages, notify=jupyter_service(s).restart)
