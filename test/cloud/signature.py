"""Verification of BytePlus request signatures (HMAC-SHA256, header form).

Written from the published rules, on purpose not shared with the extension's
signer: two independent readings of the rules have to agree.  It verifies
whatever SignedHeaders lists, since the vendor's own signers list different
headers, and insists only on what protects the request: host and x-date.
"""

import calendar
import hashlib
import hmac
import re
import time
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "HMAC-SHA256"
TERMINATOR = "request"
MAX_SKEW_SECONDS = 15 * 60
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_AUTHORIZATION = re.compile(
    r"HMAC-SHA256 Credential=([^,\s]+), ?SignedHeaders=([^,\s]*), ?"
    r"Signature=([^,\s]*)")
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9\-_.~=&]*")
_X_DATE = re.compile(r"(\d{8})T(\d{6})Z")


class SignatureError(Exception):
    """A refused request: HTTP status, the vendor's code and number, why."""

    def __init__(self, status, number, code, message, detail=None):
        super().__init__(message)
        self.status = status
        self.number = number
        self.code = code
        self.message = message
        self.detail = detail


class Scope:
    """What a verified request was signed for."""

    __slots__ = ("access_key", "date", "region", "service")

    def __init__(self, access_key, date, region, service):
        self.access_key = access_key
        self.date = date
        self.region = region
        self.service = service


def escape(data):
    """RFC 3986: everything but the unreserved characters, upper-case hex."""
    return quote(data, safe="-_.~")


def split_query(raw):
    """The query as a list of decoded (name, value) pairs, in bytes."""
    pairs = []
    for part in raw.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((unquote_to_bytes(name.replace("+", " ")),
                          unquote_to_bytes(value.replace("+", " "))))
    return pairs


def canonical_query(raw):
    """Escaped and sorted by name, then value.

    Sorting whole "name=value" strings would be wrong: Ids.1= and Ids.10=
    would change places, because "=" sorts after "0".
    """
    if _PLAIN_QUERY.fullmatch(raw):
        pairs = []
        for part in raw.split("&"):
            if part:
                name, _, value = part.partition("=")
                if "=" in value:
                    value = value.replace("=", "%3D")
                pairs.append((name, value))
    else:
        pairs = [(escape(name), escape(value))
                 for name, value in split_query(raw)]
    pairs.sort()
    return "&".join([name + "=" + value for name, value in pairs])


def canonical_path(raw):
    """Each segment escaped once; an empty path is the root."""
    if raw in ("", "/"):
        return "/"
    return quote(unquote_to_bytes(raw), safe="/-_.~")


def canonical_host(host):
    """The default ports are not part of a host; every other port is."""
    for suffix in (":80", ":443"):
        if host.endswith(suffix):
            return host[:-len(suffix)]
    return host


def canonical_request(method, path, query, headers, signed_headers, body_hash):
    """The text whose hash is signed.  headers: lower-case name -> value."""
    lines = [method, canonical_path(path), canonical_query(query)]
    for name in signed_headers:
        value = headers[name].strip()
        if name == "host":
            value = canonical_host(value)
        lines.append(name + ":" + value)
    lines.append("")
    lines.append(";".join(signed_headers))
    lines.append(body_hash)
    return "\n".join(lines)


def derive_key(secret, date, region, service):
    """kDate -> kRegion -> kService -> kSigning; no prefix on the secret."""
    key = secret.encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key, x_date, scope, canonical):
    """The signature of a canonical request as hex."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((ALGORITHM, x_date, scope, digest))
    return hmac.digest(key, text.encode(), "sha256").hex()


def parse_x_date(text):
    """Seconds since the epoch, or None when it is not a valid X-Date."""
    if not _X_DATE.fullmatch(text):
        return None
    try:
        return calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


class Verifier:
    """Checks requests against a table of access keys.

    keys: access key -> (secret, session token or None).  identity, where there
    is one, knows the temporary ones.
    """

    def __init__(self, keys, services, identity=None):
        self.keys = keys
        self.identity = identity
        self.services = services
        self._derived = {}
        self._dates = {}

    def verify(self, method, path, query, headers, body, now):
        """Returns the Scope, or raises SignatureError."""
        access_key, scope_parts, names, given = self._authorization(headers)
        date, region, service = scope_parts
        x_date = self._date(headers, date, now)
        secret, token = self._secret(access_key, now)
        if service not in self.services:
            raise SignatureError(404, 100007, "ServiceNotFound",
                                 "Service %s does not exist." % service)
        self._check_signed_names(headers, names)
        self._check_token(headers, names, token)
        body_hash = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        claimed = headers.get("x-content-sha256")
        if claimed is not None and claimed.strip() != body_hash:
            raise SignatureError(
                401, 100010, "SignatureDoesNotMatch",
                "X-Content-Sha256 is not the hash of the body.",
                "body hashes to " + body_hash)
        canonical = canonical_request(method, path, query, headers, names,
                                      body_hash)
        key = self._key(access_key, secret, date, region, service)
        scope = "/".join((date, region, service, TERMINATOR))
        wanted = sign(key, x_date, scope, canonical)
        if not hmac.compare_digest(wanted.encode(), given.encode()):
            raise SignatureError(
                401, 100010, "SignatureDoesNotMatch",
                "The request signature does not conform to the standard.",
                canonical)
        return Scope(access_key, date, region, service)

    def _secret(self, access_key, now):
        """(secret, token) of a key."""
        if access_key in self.keys:
            return self.keys[access_key]
        issued = self.identity and self.identity.key(access_key, now)
        if not issued:
            raise SignatureError(401, 100009, "InvalidAccessKey",
                                 "The access key id does not exist.")
        if issued[2]:
            raise SignatureError(401, 100026, "InvalidSecretToken",
                                 "The security token has expired.")
        return issued[:2]

    def _authorization(self, headers):
        text = headers.get("authorization")
        if text is None:
            raise SignatureError(401, 100003, "MissingAuthenticationToken",
                                 "The Authorization header is missing.")
        match = _AUTHORIZATION.fullmatch(text.strip())
        if match is None:
            if "Signature=" not in text:
                raise SignatureError(401, 100005, "MissingSignature",
                                     "Authorization has no Signature.")
            raise SignatureError(400, 100025, "InvalidCredential",
                                 "Authorization is malformed.", text[:200])
        credential, names, given = match.groups()
        parts = credential.split("/")
        if len(parts) != 5 or parts[4] != TERMINATOR or "" in parts:
            raise SignatureError(400, 100025, "InvalidCredential",
                                 "The credential scope is malformed.",
                                 credential[:200])
        return parts[0], parts[1:4], names.split(";"), given

    def _date(self, headers, date, now):
        x_date = headers.get("x-date")
        if x_date is None:
            raise SignatureError(400, 100004, "MissingRequestInfo",
                                 "The X-Date header is missing.")
        x_date = x_date.strip()
        seconds = self._dates.get(x_date)
        if seconds is None:
            seconds = parse_x_date(x_date)
            if seconds is None:
                raise SignatureError(400, 100006, "InvalidTimestamp",
                                     "X-Date is not a valid time.")
            if len(self._dates) > 1000:
                self._dates.clear()
            self._dates[x_date] = seconds
        if abs(seconds - now) > MAX_SKEW_SECONDS:
            raise SignatureError(
                400, 100006, "InvalidTimestamp",
                "The request timestamp is expired or lies in the future.")
        if x_date[:8] != date:
            raise SignatureError(400, 100025, "InvalidCredential",
                                 "The scope's date is not that of X-Date.")
        return x_date

    @staticmethod
    def _check_signed_names(headers, names):
        for needed in ("host", "x-date"):
            if needed not in names:
                raise SignatureError(
                    401, 100010, "SignatureDoesNotMatch",
                    "SignedHeaders must contain %s." % needed)
        if names != sorted(set(names)) or any(n != n.lower() for n in names):
            raise SignatureError(
                401, 100010, "SignatureDoesNotMatch",
                "SignedHeaders must be lower-case, sorted and unique.")
        for name in names:
            if name not in headers:
                raise SignatureError(
                    401, 100010, "SignatureDoesNotMatch",
                    "Signed header %s was not sent." % name[:80])

    @staticmethod
    def _check_token(headers, names, token):
        sent = headers.get("x-security-token")
        if token is None and sent is None:
            return
        if token is None or sent is None or sent.strip() != token:
            raise SignatureError(401, 100026, "InvalidSecretToken",
                                 "The security token is not valid.")
        if "x-security-token" not in names:
            raise SignatureError(401, 100010, "SignatureDoesNotMatch",
                                 "X-Security-Token is not signed.")

    def _key(self, access_key, secret, date, region, service):
        name = (access_key, secret, date, region, service)
        key = self._derived.get(name)
        if key is None:
            if len(self._derived) > 1000:
                self._derived.clear()
            key = derive_key(secret, date, region, service)
            self._derived[name] = key
        return key


def sign_headers(access_key, secret, region, service, method, host, query,
                 body=b"", now=None, token=None, content_type=None):
    """Headers of a signed request, for this directory's own tests."""
    x_date = time.strftime("%Y%m%dT%H%M%SZ",
                           time.gmtime(time.time() if now is None else now))
    headers = {"host": host, "x-date": x_date,
               "x-content-sha256": hashlib.sha256(body).hexdigest()}
    if token is not None:
        headers["x-security-token"] = token
    if content_type is not None:
        headers["content-type"] = content_type
    names = sorted(headers)
    scope = "/".join((x_date[:8], region, service, TERMINATOR))
    canonical = canonical_request(method, "/", query, headers, names,
                                  headers["x-content-sha256"])
    key = derive_key(secret, x_date[:8], region, service)
    headers["authorization"] = (
        "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s"
        % (ALGORITHM, access_key, scope, ";".join(names),
           sign(key, x_date, scope, canonical)))
    return headers
