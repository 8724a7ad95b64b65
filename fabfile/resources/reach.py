"""Whether a name leads to the server, checked from this machine as an ACME server checks it."""

import contextlib
import http.client
import socket

TIMEOUT = 5  # seconds to wait for port 80

NOT_REACHABLE = (
    "{name} leads to {address}, which is not this server's, and cannot be reached from here; "
    "correct the DNS record"
)


def challenge_problem(name, server_addresses, own_addresses, path, text):
    """Return why an ACME server would not find a file under *name*, or an empty text.

    Every address of the name must serve the file on port 80. The addresses come from this
    machine's DNS or, if that has none, from the server's.

    Args:
        name: the DNS name.
        server_addresses: the addresses of the name that the server's DNS gives.
        own_addresses: the addresses of the server's interfaces.
        path: the path of the file in its URL.
        text: the content of the file.
    """
    addresses = resolve(name) or [one for one in server_addresses if not is_loopback(one)]
    if not addresses:
        expected = " or ".join(sorted(own_addresses)) or "the server's address"
        return f"{name} has no address in the DNS; make a record for it with {expected}"
    for address in addresses:
        problem = http_problem(name, address, path, text)
        # An address of the server's own may be one that only this machine cannot reach.
        if problem and not (problem is NOT_REACHABLE and address in own_addresses):
            return problem.format(name=name, address=address)
    return ""


def http_problem(name, address, path, text):
    """Return what is wrong with the answer of port 80 of *address*, or an empty text.

    Returns:
        A message in which ``{name}`` and ``{address}`` are still to be filled in.
    """
    try:
        connection = http.client.HTTPConnection(address, 80, timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Host": name})
            answer = connection.getresponse()
            if answer.status == 200 and answer.read(1000).decode(errors="replace").strip() == text:
                return ""
    except ConnectionRefusedError:
        return (
            "port 80 of {address} ({name}) refuses connections from here; "
            "check that Apache runs and that the address is right"
        )
    except TimeoutError:
        return (
            "port 80 of {address} ({name}) does not answer from here; "
            "open it in the server's firewall and in the provider's"
        )
    except ConnectionError:
        return "port 80 of {address} ({name}) closes the connection early"
    except OSError:
        return NOT_REACHABLE
    except http.client.HTTPException:
        return (
            "port 80 of {address} ({name}) does not answer as a web server does; "
            "correct the DNS record"
        )
    return (
        f"{{name}} leads to {{address}}, which is not this server (HTTP {answer.status}); "
        "correct the DNS record"
    )


def resolve(name):
    """Return the addresses of *name* that this machine's DNS gives, without loopback ones."""
    with contextlib.suppress(OSError, UnicodeError):
        found = {info[4][0] for info in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
        return sorted(address for address in found if not is_loopback(address))
    return []


def is_loopback(address):
    """Return whether *address* is a loopback address, or an IPv4-mapped IPv6 address."""
    return address.startswith(("127.", "::ffff:")) or address == "::1"
