"""Where AWS' temporary credentials come from: the instance's metadata service,
the container's credentials, and the security token service.

What they issue is kept by identity.py, which accepts it until it expires or is
revoked.  Requests are logged and can be struck by faults under the actions
ImdsToken, ImdsRoles, ImdsCredentials, ContainerCredentials,
AssumeRoleWithWebIdentity (unsigned) and AssumeRole (signed, see aws.py).
"""

import json
import re
from urllib.parse import parse_qs, unquote

TOKEN_PATH = "/latest/api/token"
ROLES_PATH = "/latest/meta-data/iam/security-credentials"
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
CONTAINER_PATH = re.compile(r"/v[12]/credentials(/.*)?")
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

WEB_IDENTITY = "AssumeRoleWithWebIdentity"


def action_of(message, body):
    """Which of the services an unsigned request is for, or None."""
    if message.path == TOKEN_PATH and TTL_HEADER in message.headers:
        return "ImdsToken"
    if message.path == ROLES_PATH + "/":
        return "ImdsRoles"
    if message.path.startswith(ROLES_PATH + "/"):
        return "ImdsCredentials"
    if CONTAINER_PATH.fullmatch(message.path):
        return "ContainerCredentials"
    if (message.method == "POST" and message.path == "/"
            and "authorization" not in message.headers
            and b"Action=" + WEB_IDENTITY.encode() in body):
        return WEB_IDENTITY
    return None


def credentials(identity, now):
    """Newly issued ones, as metadata and containers show them."""
    given = identity.issue(now)
    given["Token"] = given.pop("SessionToken")
    return given


def answer(identity, action, message, body, now):
    """(HTTP status, body) of an unsigned request."""
    if action == WEB_IDENTITY:
        return web_identity(identity, body, now)
    if action == "ContainerCredentials":
        if message.headers.get("authorization", "") != identity.container_token:
            return 403, json.dumps({
                "code": "AccessDeniedException", "message": "refused "
                + message.headers.get("authorization", "")}).encode()
        return 200, json.dumps(dict(credentials(identity, now),
                                    RoleArn=identity.role_arn)).encode()
    if action == "ImdsToken":
        ttl = message.headers[TTL_HEADER]
        if message.method != "PUT" or not re.fullmatch(r"\d{1,5}", ttl) \
                or not 1 <= int(ttl) <= 21600:
            return 400, b""
        return 200, identity.new_token().encode()
    if message.headers.get(TOKEN_HEADER) not in identity.tokens:
        return 401, b""
    if action == "ImdsRoles":
        return (200, "\n".join(identity.roles).encode()) if identity.roles \
            else (404, b"")
    if unquote(message.path[len(ROLES_PATH) + 1:]) not in identity.roles:
        return 404, b""
    return 200, json.dumps(dict(credentials(identity, now), Code="Success",
                                Type="AWS-HMAC")).encode()


def granted(action, given):
    """The reply of a role that was assumed."""
    return ('<%sResponse xmlns="%s"><%sResult><Credentials>%s</Credentials>'
            '<AssumedRoleUser><Arn>arn</Arn></AssumedRoleUser></%sResult>'
            '<ResponseMetadata><RequestId>R</RequestId></ResponseMetadata>'
            '</%sResponse>' % (
                action, NAMESPACE, action,
                "".join("<%s>%s</%s>" % (k, v, k) for k, v in given.items()),
                action, action)).encode()


def refused(code, message):
    """An error of the security token service."""
    return ('<ErrorResponse xmlns="%s"><Error><Type>Sender</Type><Code>%s'
            '</Code><Message>%s</Message></Error><RequestId>R</RequestId>'
            '</ErrorResponse>' % (NAMESPACE, code, message)).encode()


def check_form(form):
    """Whether what both actions need is there."""
    return (form.get("Version") == "2011-06-15"
            and re.fullmatch(r"[\w+=,.@-]{2,64}",
                             form.get("RoleSessionName", "")) is not None
            and 900 <= int(form.get("DurationSeconds", "3600")) <= 43200)


def web_identity(identity, body, now):
    form = {name: values[-1] for name, values in
            parse_qs(body.decode("utf-8", "replace")).items()}
    token = form.get("WebIdentityToken", "")
    if not check_form(form):
        return 400, refused("ValidationError", "refused " + token)
    if form.get("RoleArn") != identity.role_arn:
        return 403, refused("AccessDenied", "refused " + token)
    if token != identity.oidc_token:
        return 400, refused("ExpiredTokenException", "refused " + token)
    return 200, granted(WEB_IDENTITY, identity.issue(now))


def assume_role(identity, form, now):
    """(HTTP status, body) of a request whose signature was good."""
    if not check_form(form):
        return 400, refused("ValidationError", "a field is missing")
    if form.get("RoleArn") != identity.role_arn \
            or form.get("ExternalId", "") != identity.external_id:
        return 403, refused("AccessDenied", "is not authorized to perform: "
                            "sts:AssumeRole on resource: "
                            + form.get("RoleArn", ""))
    return 200, granted("AssumeRole", identity.issue(now))
