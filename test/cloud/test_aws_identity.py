"""AWS' credential services in the emulator, asked as AWS' own code asks
(Debian's python3-botocore, where it is installed)."""

import json
import os
import unittest
import urllib.error
import urllib.request

from harness import KEY, SECRET, Emulator

try:
    import botocore.session
    from botocore.config import Config
    from botocore.credentials import ContainerMetadataFetcher
    from botocore.exceptions import ClientError
    from botocore.utils import InstanceMetadataFetcher
except ImportError:
    botocore = None

ROLE = "arn:aws:iam::123456789012:role/scaler"


class Services(unittest.TestCase):
    """Each service, and whether what it gives is taken."""

    def setUp(self):
        self.emulator = Emulator("--boot-delay", "0")
        self.url = "http://%s" % self.emulator.host

    def tearDown(self):
        self.emulator.stop()

    def client(self, service, key=KEY, secret=SECRET, token=None, **config):
        session = botocore.session.Session()
        session.set_config_variable("credentials_file", os.devnull)
        session.set_config_variable("config_file", os.devnull)
        return session.create_client(
            service, region_name="us-east-1", endpoint_url=self.url,
            aws_access_key_id=key, aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 0}, **config))

    def check_taken(self, key, secret, token):
        scaling = self.client("autoscaling", key, secret, token)
        scaling.describe_auto_scaling_groups()
        self.emulator.control("PUT", "identity", {"revoke": True})
        with self.assertRaises(ClientError) as caught:
            scaling.describe_auto_scaling_groups()
        self.assertEqual(caught.exception.response["Error"]["Code"],
                         "ExpiredToken")

    @unittest.skipIf(botocore is None, "botocore is not installed")
    def test_a_role_is_assumed_with_its_external_id(self):
        self.emulator.control("PUT", "identity", {"external_id": "e 1"})
        sts = self.client("sts")
        given = sts.assume_role(RoleArn=ROLE, RoleSessionName="me",
                                ExternalId="e 1")["Credentials"]
        with self.assertRaises(ClientError) as caught:
            sts.assume_role(RoleArn=ROLE, RoleSessionName="me")
        self.assertEqual(caught.exception.response["Error"]["Code"],
                         "AccessDenied")
        with self.assertRaises(ClientError) as caught:
            self.client("sts", secret="wrong").assume_role(
                RoleArn=ROLE, RoleSessionName="me", ExternalId="e 1")
        self.assertEqual(caught.exception.response["Error"]["Code"],
                         "SignatureDoesNotMatch")
        self.check_taken(given["AccessKeyId"], given["SecretAccessKey"],
                         given["SessionToken"])

    @unittest.skipIf(botocore is None, "botocore is not installed")
    def test_a_token_is_exchanged(self):
        sts = self.client("sts")
        given = sts.assume_role_with_web_identity(
            RoleArn=ROLE, RoleSessionName="me",
            WebIdentityToken="good-token")["Credentials"]
        with self.assertRaises(ClientError) as caught:
            sts.assume_role_with_web_identity(
                RoleArn=ROLE, RoleSessionName="me", WebIdentityToken="xxxx")
        self.assertEqual(caught.exception.response["Error"]["Code"],
                         "ExpiredTokenException")
        self.check_taken(given["AccessKeyId"], given["SecretAccessKey"],
                         given["SessionToken"])

    @unittest.skipIf(botocore is None, "botocore is not installed")
    def test_an_instance_has_a_role(self):
        given = InstanceMetadataFetcher(
            config={"ec2_metadata_service_endpoint": self.url + "/"}
        ).retrieve_iam_role_credentials()
        self.assertEqual(given["role_name"], "scaler")
        self.check_taken(given["access_key"], given["secret_key"],
                         given["token"])

    @unittest.skipIf(botocore is None, "botocore is not installed")
    def test_a_container_has_a_role(self):
        self.emulator.control("PUT", "identity", {"container_token": "Basic x"})
        given = ContainerMetadataFetcher().retrieve_full_uri(
            self.url + "/v1/credentials", headers={"Authorization": "Basic x"})
        self.check_taken(given["AccessKeyId"], given["SecretAccessKey"],
                         given["Token"])
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(self.url + "/v1/credentials", timeout=10)
        self.assertEqual(caught.exception.code, 403)
        self.assertEqual(json.loads(caught.exception.read())["code"],
                         "AccessDeniedException")
        caught.exception.close()


if __name__ == "__main__":
    unittest.main()
