"""Whether a name leads to the server, asked from this machine as an ACME server would ask."""

import contextlib
import http.client
import socket

PATIENCE = 5  # seconds for an answer of port 80


def astray(name, by_server, own, path, text):
    """Return why *name* does not lead to the file *path* with this *text*, asked from here; or an empty text.

    Its addresses are what this machine's DNS says, and where that knows nothing, what the server's says.
    """
    addresses = resolved(name) or [one for one in by_server if not loopback(one)]
    if not addresses:
        mine = " or ".join(sorted(own)) or "the server's address"
        return f"{name} has no address in the DNS; make a record for it with {mine}"
    for address in addresses:
        problem = asked(name, address, path, text)
        if problem and not (problem is UNREACHABLE and address in own):
            return problem.format(name=name, address=address)
    return ""


UNREACHABLE = "{name} leads to {address}, which is not this server's, and cannot be reached from here; correct the DNS record"


def asked(name, address, path, text):
    """Return what is wrong with the answer of port 80 of *address* for *name*, with places for both; or an empty text."""
    try:
        with contextlib.closing(http.client.HTTPConnection(address, 80, timeout=PATIENCE)) as line:
            line.request("GET", path, headers={"Host": name})
            answer = line.getresponse()
            if answer.status == 200 and answer.read(1000).decode(errors="replace").strip() == text:
                return ""
            return f"{{name}} leads to {{address}}, which is not this server (HTTP {answer.status}); correct the DNS record"
    except ConnectionRefusedError:
        return "port 80 of {address} ({name}) refuses connections from here; does Apache run, and is this the right address?"
    except TimeoutError:
        return "port 80 of {address} ({name}) does not answer from here; open it, here (firewall) and at the provider's"
    except OSError as error:
        return (
            UNREACHABLE
            if not isinstance(error, ConnectionError)
            else "port 80 of {address} ({name}) breaks off"
        )
    except http.client.HTTPException:
        return "port 80 of {address} ({name}) does not answer as a web server does; correct the DNS record"


def resolved(name):
    """Return the addresses, but those of a loopback, that this machine's DNS tells for *name*."""
    with contextlib.suppress(OSError, UnicodeError):
        found = {info[4][0] for info in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
        return sorted(address for address in found if not loopback(address))
    return []


def loopback(address):
    """Return whether *address* is of a loopback, or an IPv4 address in IPv6's clothes."""
    return address.startswith(("127.", "::ffff:")) or address == "::1"
