"""Verification of AWS Signature Version 4 (header form).

Written from AWS' published rules, on purpose shared neither with the
extension's signer nor with signature.py beside it: independent readings of
the rules have to agree.  test_aws.py holds it against the published vectors
and, where Debian's botocore is installed, against AWS' own signer.
"""

import datetime
import hashlib
import hmac
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW = datetime.timedelta(minutes=5)
_UNRESERVED = "-_.~"


class Refused(Exception):
    """A refused request: HTTP status, AWS' code, a message."""

    def __init__(self, status, code, message, detail=None):
        super().__init__(message)
        self.status = status
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


def is_aws(headers):
    """Whether a request says that it is signed for AWS."""
    return headers.get("authorization", "").startswith("AWS4-")


def canonical_uri(path):
    """Every service but S3 escapes the escaped path once more."""
    segments = path.split("/") if path else ["", ""]
    return "/".join(urllib.parse.quote(s, safe=_UNRESERVED)
                    for s in segments)


def canonical_query(query):
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    escaped = sorted((urllib.parse.quote(name, safe=_UNRESERVED),
                      urllib.parse.quote(value, safe=_UNRESERVED))
                     for name, value in pairs)
    return "&".join("%s=%s" % pair for pair in escaped)


def canonical_headers(headers, names):
    """Values trimmed, runs of blanks made one."""
    return "".join("%s:%s\n" % (name, " ".join(headers[name].split()))
                   for name in names)


def canonical_request(method, path, query, headers, names, body):
    return "\n".join([method, canonical_uri(path), canonical_query(query),
                      canonical_headers(headers, names), ";".join(names),
                      hashlib.sha256(body).hexdigest()])


def signature(secret, amz_date, region, service, canonical):
    """The signature as hex."""
    day = amz_date[:8]
    scope = "%s/%s/%s/aws4_request" % (day, region, service)
    text = "\n".join([ALGORITHM, amz_date, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def _parts(header):
    """Credential, signed names and signature of an Authorization header."""
    rest = header[len(ALGORITHM):].strip()
    fields = {}
    for item in rest.split(","):
        name, _, value = item.strip().partition("=")
        fields[name] = value
    missing = [n for n in ("Credential", "SignedHeaders", "Signature")
               if not fields.get(n)]
    if not header.startswith(ALGORITHM + " ") or missing:
        raise Refused(400, "IncompleteSignature",
                      "Authorization header requires %s."
                      % (", ".join(missing) or "a known algorithm"))
    credential = fields["Credential"].split("/")
    if len(credential) != 5 or credential[4] != "aws4_request":
        raise Refused(400, "IncompleteSignature",
                      "Credential must have exactly 5 slash-delimited "
                      "elements.")
    return credential, fields["SignedHeaders"].split(";"), fields["Signature"]


def _check_date(text, day, now):
    try:
        then = datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise Refused(400, "IncompleteSignature",
                      "Date must be in ISO-8601 'basic format'.") from None
    if text[:8] != day:
        raise Refused(403, "SignatureDoesNotMatch",
                      "Date in Credential scope does not match.")
    present = datetime.datetime.utcfromtimestamp(now)
    if then < present - MAX_SKEW:
        raise Refused(403, "SignatureDoesNotMatch",
                      "Signature expired: %s is now earlier than %s" % (
                          text, (present - MAX_SKEW).strftime(
                              "%Y%m%dT%H%M%SZ")))
    if then > present + MAX_SKEW:
        raise Refused(403, "SignatureDoesNotMatch",
                      "Signature not yet current: %s is still later than %s"
                      % (text, (present + MAX_SKEW).strftime(
                          "%Y%m%dT%H%M%SZ")))


class Verifier:
    """Checks requests against access key -> (secret, session token)."""

    def __init__(self, keys, services, identity=None):
        self.keys = keys
        self.identity = identity
        self.services = services

    def verify(self, method, path, query, headers, body, now):
        """Returns the Scope, or raises Refused."""
        credential, names, given = _parts(headers["authorization"])
        access_key, day, region, service = credential[:4]
        amz_date = headers.get("x-amz-date", "").strip()
        _check_date(amz_date, day, now)
        secret, token = self._secret(access_key, now)
        if service not in self.services:
            raise Refused(403, "SignatureDoesNotMatch",
                          "Credential should be scoped to correct service: "
                          "'%s'." % "' or '".join(self.services))
        if names != sorted(set(names)) or "host" not in names or any(
                n not in headers for n in names):
            raise Refused(403, "SignatureDoesNotMatch",
                          "'Host' and every x-amz-* header must be signed.")
        if any(n.startswith("x-amz-") and n not in names for n in headers):
            raise Refused(403, "SignatureDoesNotMatch",
                          "An x-amz-* header is not signed.")
        if headers.get("x-amz-security-token") != token:
            raise Refused(403, "ExpiredToken" if token else
                          "InvalidClientTokenId",
                          "The security token included in the request is "
                          "expired or invalid.")
        canonical = canonical_request(method, path, query, headers, names,
                                      body)
        wanted = signature(secret, amz_date, region, service, canonical)
        if not hmac.compare_digest(wanted, given):
            raise Refused(403, "SignatureDoesNotMatch",
                          "The request signature we calculated does not match "
                          "the signature you provided.", canonical)
        return Scope(access_key, day, region, service)

    def _secret(self, access_key, now):
        """(secret, token) of a key."""
        if access_key in self.keys:
            return self.keys[access_key]
        issued = self.identity and self.identity.key(access_key, now)
        if not issued:
            raise Refused(403, "InvalidClientTokenId",
                          "The security token included in the request is "
                          "invalid.")
        if issued[2]:
            raise Refused(403, "ExpiredToken",
                          "The security token included in the request is "
                          "expired")
        return issued[:2]
