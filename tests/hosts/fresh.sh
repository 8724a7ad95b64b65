#!/bin/sh
# The job of full-setup as one plain script, to compare with; it converges nothing and checks nothing.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends sudo python3-venv apache2 openssl ufw >/dev/null
useradd -m -s /bin/bash -G sudo jupyter
install -d -o jupyter -g jupyter -m 0700 /home/jupyter/.ssh /home/jupyter/.jupyter /home/jupyter/notebooks
install -o jupyter -g jupyter -m 0600 /root/.ssh/authorized_keys /home/jupyter/.ssh/
runuser -u jupyter -- python3 -m venv /home/jupyter/jupyter-env
runuser -u jupyter -- /home/jupyter/jupyter-env/bin/pip -q install --no-input jupyterlab notebook
cat >/home/jupyter/.jupyter/jupyter_server_config.py <<'END'
c = get_config()
c.ServerApp.port_retries = 0
c.ServerApp.base_url = "/jupyter/"
c.ServerApp.root_dir = "/home/jupyter/notebooks"
c.ServerApp.allow_remote_access = True
END
cat >/etc/systemd/system/jupyter.service <<'END'
[Service]
User=jupyter
ExecStart=/home/jupyter/jupyter-env/bin/jupyter lab --no-browser
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable -q --now jupyter
until /home/jupyter/jupyter-env/bin/python -c 'import urllib.request as r; r.urlopen("http://127.0.0.1:8888/jupyter/api")' 2>/dev/null
do sleep 0.2; done
a2enmod -q ssl proxy proxy_http headers rewrite
install -d /etc/remote-jupyter/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=jupyter \
    -keyout /etc/remote-jupyter/tls/key.pem -out /etc/remote-jupyter/tls/cert.pem 2>/dev/null
cat >/etc/apache2/sites-available/jupyter.conf <<'END'
<VirtualHost *:443>
    SSLEngine on
    SSLCertificateFile /etc/remote-jupyter/tls/cert.pem
    SSLCertificateKeyFile /etc/remote-jupyter/tls/key.pem
    ProxyPreserveHost On
    ProxyPass /jupyter http://127.0.0.1:8888/jupyter upgrade=websocket
</VirtualHost>
END
a2ensite -q jupyter
apache2ctl configtest 2>/dev/null
systemctl reload apache2
for port in 22 80 443; do ufw allow $port/tcp >/dev/null; done
ufw --force enable >/dev/null
printf 'PasswordAuthentication no\n' >/etc/ssh/sshd_config.d/00-remote-jupyter.conf
sshd -t
systemctl reload ssh
