"""Options of a container in OpenStack Swift, reached by its middleware `s3api`."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from adapters.addresses import is_web_url
from adapters.blob_storage.s3.options import (
    MIB,
    S3Options,
    bucket_problem,
    connections_setting,
    raised_part_bytes_setting,
)
from adapters.blob_storage.s3.presets.tuning import Tuning
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, Unused, setting

_FILES: Final = "files"
"""distribution stores objects below this folder of the prefix, and their segments below another."""
_REMEDIES: Final = {
    "container": "",
    "ec2accesskey": "; create a pair with `openstack ec2 credentials create`, because `username` and `password` cannot "
    "sign requests of the S3 API",
    "ec2secretkey": "; it belongs to `ec2accesskey`",
    "s3endpoint": "; it is the URL of Swift's proxy with the middleware s3api, because `authurl` does not lead to it",
}


def _endpoint_problem(text: str) -> str | None:
    return None if is_web_url(text) else "must be a URL such as https://swift.example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwiftOptions(Tuning):
    """`storage.swift`: one container of Swift, with EC2 credentials in place of a user and a password."""

    container: str = setting("container", "The container.", "", check=bucket_problem)
    s3_endpoint: str = setting("s3endpoint", "URL of the S3 API (`s3api`) of Swift.", "", check=_endpoint_problem)
    access_key: str = setting("ec2accesskey", "The access key of EC2 credentials.", "")
    secret_key: Secret | None = setting("ec2secretkey", "The secret key of the EC2 credentials.", None)
    s3_region: str = setting("s3region", "The `location` in the configuration of `s3api`.", "us-east-1")
    prefix: str = setting("prefix", "Prefix of all objects in the container.", "")
    chunk_bytes: int = raised_part_bytes_setting(20 * MIB)
    skip_verify: bool = setting(
        "insecureskipverify", "Whether to skip the verification of the store's certificate.", default=False
    )
    connections_max: int = connections_setting()
    username: ClassVar = Unused("username", "User at Keystone.")
    password: ClassVar = Unused("password", "Password at Keystone.")
    auth_url: ClassVar = Unused("authurl", "URL of Keystone.")
    auth_version: ClassVar = Unused("authversion", "Version of Keystone's API.")
    tenant: ClassVar = Unused("tenant", "Project at Keystone.")
    tenant_id: ClassVar = Unused("tenantid", "Id of the project.")
    tenant_domain: ClassVar = Unused("tenantdomain", "Domain of the project.")
    tenant_domain_id: ClassVar = Unused("tenantdomainid", "Id of the domain of the project.")
    domain: ClassVar = Unused("domain", "Domain of the user.")
    domain_id: ClassVar = Unused("domainid", "Id of the domain of the user.")
    trust_id: ClassVar = Unused("trustid", "Trust at Keystone.")
    region: ClassVar = Unused("region", "Region at Keystone.")
    endpoint_type: ClassVar = Unused("endpointtype", "Kind of endpoint at Keystone.")
    temporary_secret: ClassVar = Unused("secretkey", "Secret of temporary URLs.")
    temporary_access: ClassVar = Unused("accesskey", "Access key of temporary URLs.")
    temporary_container_key: ClassVar = Unused("tempurlcontainerkey", "Whether the container has the secret.")
    temporary_methods: ClassVar = Unused("tempurlmethods", "Methods of temporary URLs.")

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section that lacks a required key, naming all missing ones."""
        keys = {
            "container": "container",
            "access_key": "ec2accesskey",
            "secret_key": "ec2secretkey",
            "s3_endpoint": "s3endpoint",
        }
        problems = {key: [f"{MISSING_VALUE}{_REMEDIES[key]}"] for name, key in keys.items() if not values.get(name)}
        if problems:
            raise SettingInvalidError(problems)
        return values

    def as_s3(self) -> S3Options:
        """Return these options in the form of the S3 adapter."""
        return S3Options(
            bucket=self.container,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.s3_region,
            region_endpoint=self.s3_endpoint,
            root_directory=f"{self.prefix.rstrip('/')}/{_FILES}",
            skip_verify=self.skip_verify,
            force_path_style=True,
            storage_class=None,
            chunk_bytes=self.chunk_bytes,
            parts_in_flight=self.parts_in_flight,
            upload_memory_bytes=self.upload_memory_bytes,
            connections_max=self.connections_max,
            retry=self.retry,
        )
