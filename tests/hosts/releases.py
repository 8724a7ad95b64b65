"""Which host tests run on both Debian releases, and why.

Every other test runs on one release: tests of a file take turns, so that each file uses both.
"""

import itertools

import pytest

from .base import SUITES
from .fixtures.hosts import TEST_HOST

SSHD = "OpenSSH 9.2 has no sshd-session and no penalties; OpenSSH 10 has both"
SUDO = "sudo and PAM word their errors differently"
SYSTEMD = "systemd 252 and 257 protect, start and reboot differently"
PYTHON = "JupyterLab runs on Python 3.11 or 3.13"
CERTBOT = "certbot 2.1 and 4.0 keep accounts and renewals differently"
OPENSSL = "OpenSSL 3.0 and 3.5 have other defaults"
APT = "apt 2.6 and 3.0 print and ask differently"
PACKAGES = "each release has its own packages, whose files and defaults differ"
LAB = "the lab boots each release"

# The file and the function, and what may differ between the releases.
BOTH = {
    "test_certs::test_unknown_name_spends_no_attempt": CERTBOT,
    "test_certs::test_first_certificate_is_rehearsed_issued_and_served": CERTBOT,
    "test_certs::test_timer_renews_while_a_kernel_runs": CERTBOT,
    "test_certs::test_forced_renewal_while_a_kernel_runs": CERTBOT,
    "test_certs::test_forgotten_account_is_registered_again": CERTBOT,
    "test_certs::test_cert_status_names_certificate_and_renewal": CERTBOT,
    "test_direct::test_jupyter_serves_tls_without_apache": PYTHON,
    "test_direct::test_certificate_is_issued_and_renewed_without_restart": CERTBOT,
    "test_escape::test_no_attack_on_the_unit_succeeds": SYSTEMD,
    "test_escape::test_no_attack_of_another_user_succeeds": PACKAGES,
    "test_escape::test_no_file_in_the_home_hangs_a_run": PACKAGES,
    "test_escape::test_a_program_of_the_environment_cannot_become_root": SUDO,
    "test_escape::test_with_sudo_and_tmux_the_unit_still_stops_them": SYSTEMD,
    "test_faults::test_wrong_or_missing_sudo_password_is_reported": SUDO,
    "test_faults::test_user_without_sudo_rights_is_reported": SUDO,
    "test_faults::test_full_setup_converges_after_all_faults": PACKAGES,
    "test_faults_words::test_passwords_and_folders_may_hold_any_character": SUDO,
    "test_faults_words::test_passwords_and_hashes_stay_in_their_own_files": SUDO,
    "test_full_setup::test_dry_run_on_a_bare_host_changes_nothing": PACKAGES,
    "test_full_setup::test_first_run_does_what_the_dry_run_predicted": PACKAGES,
    "test_full_setup::test_second_run_changes_nothing_in_one_round_trip": PACKAGES,
    "test_full_setup::test_only_the_generated_password_is_shown_once": PACKAGES,
    "test_full_setup::test_new_address_updates_what_contains_it": PACKAGES,
    "test_full_setup::test_the_packages_are_installed": PACKAGES,
    "test_full_setup::test_administrator_has_sudo_and_a_password": PACKAGES,
    "test_full_setup::test_keys_of_root_let_the_login_user_in": SSHD,
    "test_full_setup::test_administrator_needs_a_password_for_sudo": SUDO,
    "test_full_setup::test_sshd_requires_keys": SSHD,
    "test_full_setup::test_ssh_rejects_the_right_password": SSHD,
    "test_full_setup::test_environment_has_jupyterlab_and_notebook": PYTHON,
    "test_full_setup::test_jupyter_runs_as_login_user_on_loopback": SYSTEMD,
    "test_full_setup::test_apache_has_modules_site_and_valid_configuration": PACKAGES,
    "test_full_setup::test_served_certificate_names_the_server": OPENSSL,
    "test_full_setup::test_firewall_allows_only_ssh_and_web": PACKAGES,
    "test_full_setup::test_visitor_has_a_kernel_and_a_terminal": PYTHON,
    "test_full_setup::test_verify_passes_on_a_good_server": PYTHON,
    "test_full_setup::test_reboot_brings_everything_back": SYSTEMD,
    "test_lab::test_host_is_a_fully_booted_debian_server": LAB,
    "test_lab::test_host_reaches_and_trusts_the_package_mirror": LAB,
    "test_lab::test_clone_has_files_of_the_layer_and_own_keys": LAB,
    "test_lab::test_reboot_keeps_files_and_drops_firewall_rules": LAB,
    "test_lockout::test_chain_survives_closing_the_login_of_root": SSHD,
    "test_lockout::test_wrong_key_rolls_back": SSHD,
    "test_lockout::test_wrong_sudo_password_rolls_back": SUDO,
    "test_lockout::test_unread_sshd_drop_in_is_found_before_reload": SSHD,
    "test_lockout::test_cut_cable_and_reboot_do_not_lock_out": SYSTEMD,
    "test_notebooks::test_system_update_asks_nothing_and_can_reboot": APT,
    "test_runner::test_kernels_terminals_and_pip_work_in_the_sandbox": SYSTEMD,
    "test_ssh::test_ssh_audit_warns_only_about_classical_key_exchange": SSHD,
    "test_ssh::test_ssh_audit_finds_the_weaknesses_of_a_default_host": SSHD,
    "test_ssh::test_ssh_forwards_only_to_jupyter": SSHD,
    "test_ssh::test_socket_activated_sshd_is_hardened_too": SSHD,
    "test_ssh::test_locked_user_is_out_and_unlocked_user_in": SSHD,
    "test_tls::test_modern_profile_is_tls_1_3_for_this_site_only": OPENSSL,
    "test_tunnel::test_jupyter_works_through_the_tunnel_until_ctrl_c": PYTHON,
    "test_tunnel::test_tunnel_reconnects_while_the_kernel_runs": SSHD,
}

_turns = {}


def of(metafunc):
    """Return the releases on which a test runs that names none itself."""
    if TEST_HOST:
        return ["as it is"]
    file = metafunc.module.__name__.rpartition(".")[2]
    if f"{file}::{metafunc.function.__name__}" in BOTH:
        return SUITES
    return [next(_turns.setdefault(file, itertools.cycle(SUITES)))]


def on(*suites):
    """Run a test on these releases only.

    Example:
        @on("trixie")
        def test_staging(host): ...
    """
    return pytest.mark.parametrize("suite", suites, indirect=True)


def in_turn(name, values, ids=None):
    """Run a test with each value, on one release after the other."""
    if TEST_HOST:
        return pytest.mark.parametrize(name, values, ids=ids)
    pairs = list(zip(values, itertools.cycle(SUITES), strict=False))
    told = [f"{ids(value) if ids else value}-{suite}" for value, suite in pairs]
    return pytest.mark.parametrize((name, "suite"), pairs, ids=told, indirect=["suite"])
