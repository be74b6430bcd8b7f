"""Where temporary credentials come from: ECS metadata and the STS.

BytePlus' here, AWS' in aws_identity.py; both clouds' are kept here.  All answer on the emulator's one port, told apart from the cloud's API by
method and path.  What they issue is accepted by the API until it expires or
is revoked.  Requests are logged and can be struck by faults under the actions
MetadataToken, MetadataRoles, MetadataCredentials and AssumeRoleWithOIDC.
"""

import json
import re
import time
from urllib.parse import parse_qs, unquote

import aws_identity

TOKEN_PATH = "/latest/api/token"
ROLES_PATH = "/volcstack/latest/iam/security_credentials"
TTL_HEADER = "x-volc-ecs-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-volc-ecs-metadata-token"

ACTIONS = ("MetadataToken", "MetadataRoles", "MetadataCredentials",
           "AssumeRoleWithOIDC")

# name -> type; PUT /_emulator/identity changes them.
SETTINGS = {"lifetime": (int, float), "roles": (list,), "secret": (str,),
            "oidc_token": (str,), "role_trn": (str,), "format": (str,),
            "role_arn": (str,), "external_id": (str,),
            "container_token": (str,), "claimed_lifetime": (int, float)}


class IdentityRequest:
    """What ledger and faults want to know of a request."""

    def __init__(self, action, method):
        self.action = action
        self.method = method
        self.service = self.region = self.request_id = ""
        self.ids = []
        self.params = {}

    def facts(self):
        return {"action": self.action, "service": "", "region": "",
                "ids": self.ids}


class Identity:
    """The services and what they have issued."""

    def __init__(self):
        self.serial = 0
        self.reset()

    def reset(self):
        self.lifetime = 3600
        self.roles = ["scaler"]
        self.claimed_lifetime = 0       # what is said of it; 0: the truth
        self.secret = "IssuedSecret"    # the beginning of each secret
        self.oidc_token = "good-token"
        self.role_trn = "trn:iam::2000000001:role/scaler"
        self.role_arn = "arn:aws:iam::123456789012:role/scaler"
        self.external_id = ""
        self.container_token = ""       # the Authorization that is wanted
        self.format = "json"            # of the role list: json or lines
        self.tokens = set()
        self.issued = {}                # key -> (secret, token, expiry)

    def change(self, wanted):
        """Settings, and {"revoke": true} for all that was issued."""
        if not isinstance(wanted, dict) or set(wanted) - set(SETTINGS) - {
                "revoke"}:
            raise ValueError("identity takes revoke, "
                             + ", ".join(sorted(SETTINGS)))
        for name, value in wanted.items():
            if name in SETTINGS and not isinstance(value, SETTINGS[name]):
                raise ValueError("%s cannot be %r" % (name, value))
        if wanted.get("revoke"):
            self.issued = {key: (secret, token, 0)
                           for key, (secret, token, _) in self.issued.items()}
        for name in SETTINGS:
            setattr(self, name, wanted.get(name, getattr(self, name)))

    def report(self):
        return {name: getattr(self, name) for name in SETTINGS}

    def key(self, access_key, now):
        """(secret, token, expired) of an issued key, or None."""
        found = self.issued.get(access_key)
        return found and (found[0], found[1], found[2] <= now)

    @staticmethod
    def action_of(message, body):
        """Which of the services a request is for, or None."""
        action = aws_identity.action_of(message, body)
        if action is not None:
            return action
        if message.path == TOKEN_PATH:
            return "MetadataToken"
        if message.path == ROLES_PATH:
            return "MetadataRoles"
        if message.path.startswith(ROLES_PATH + "/"):
            return "MetadataCredentials"
        if (message.method == "POST" and message.path == "/"
                and "authorization" not in message.headers
                and "Action=AssumeRoleWithOIDC" in message.query):
            return "AssumeRoleWithOIDC"
        return None

    def answer(self, action, message, body, now):
        """(HTTP status, body)."""
        if action not in ACTIONS:
            return aws_identity.answer(self, action, message, body, now)
        if action == "MetadataToken":
            return self._token(message)
        if action == "AssumeRoleWithOIDC":
            return self._assume(message, body, now)
        if message.method != "GET":
            return 405, b""
        if message.headers.get(TOKEN_HEADER) not in self.tokens:
            return 401, b""
        if action == "MetadataRoles":
            if self.format == "lines":
                return 200, "\n".join(self.roles).encode() + b"\n"
            return 200, json.dumps(self.roles).encode()
        role = unquote(message.path[len(ROLES_PATH) + 1:])
        if role not in self.roles:
            return 404, b"no such role"
        given = self.issue(now)
        given["ExpiredTime"] = given.pop("Expiration")
        return 200, json.dumps(given).encode()

    def _token(self, message):
        ttl = message.headers.get(TTL_HEADER, "")
        if message.method != "PUT":
            return 405, b""
        if not re.fullmatch(r"\d{1,5}", ttl) or not 1 <= int(ttl) <= 21600:
            return 400, b""
        return 200, self.new_token().encode() + b"\n"

    def new_token(self):
        """Of a metadata service."""
        self.serial += 1
        token = "metadata-token-%d" % self.serial
        self.tokens.add(token)
        return token

    @staticmethod
    def refusal(action, code, text):
        """What a fault says in the words of the service."""
        if action == aws_identity.WEB_IDENTITY:
            return aws_identity.refused(code, text)
        return json.dumps({"ResponseMetadata": {
            "Error": {"Code": code, "Message": text}}}).encode()

    def _assume(self, message, body, now):
        form = {name: values[-1] for name, values in
                parse_qs(body.decode("utf-8", "replace")).items()}
        code = None
        if (message.headers.get("content-type")
                != "application/x-www-form-urlencoded"
                or not form.get("RoleSessionName")
                or form.get("DurationSeconds") != "3660"):
            code = "MissingParameter"
        elif form.get("RoleTrn") != self.role_trn:
            code = "RoleNotExist"
        elif form.get("OIDCToken") != self.oidc_token:
            code = "InvalidOIDCToken"
        if code is not None:
            return 400, json.dumps({"ResponseMetadata": {
                "RequestId": "R", "Error": {
                    "Code": code,
                    "Message": "refused " + form.get("OIDCToken", "")}}}
            ).encode()
        return 200, json.dumps({
            "ResponseMetadata": {"RequestId": "R"},
            "Result": {"Credentials": self.issue(now)}}).encode()

    def issue(self, now):
        """Credentials that the cloud takes until they expire."""
        self.serial += 1
        key = "AKTPISSUED%d" % self.serial
        secret = "%s%d" % (self.secret, self.serial)
        token = "%sToken%d" % (self.secret, self.serial)
        expiry = now + self.lifetime
        self.issued[key] = (secret, token, expiry)
        return {"AccessKeyId": key, "SecretAccessKey": secret,
                "SessionToken": token,
                "Expiration": time.strftime(
                    "%Y-%m-%dT%H:%M:%SZ", time.gmtime(
                        now + self.claimed_lifetime if self.claimed_lifetime
                        else expiry))}
