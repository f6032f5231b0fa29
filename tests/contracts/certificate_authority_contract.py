"""Contract of every authority: which certificate an order brings, and how it fails."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from core.ports.certificate_authority import CertificateAuthority, CertificateOrderError, ChallengeAnswer

HOST = "registry.example.test"


def public_bytes(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class CertificateAuthorityContract:
    """A subclass provides `authority` and `answered`, the list of answers that its check of a name accepts."""

    @pytest.fixture
    def publish(self, answered):
        self.published: list[ChallengeAnswer] = []

        async def publish(answer):
            self.published.append(answer)
            answered.append(answer)

        return publish

    async def test_answer_brings_a_certificate_with_its_key(self, authority: CertificateAuthority, publish):
        account = await authority.new_account_key()
        certificate = await authority.order(HOST, account, publish)
        chain = x509.load_pem_x509_certificates(certificate.chain.encode())
        key = load_pem_private_key(certificate.key.reveal().encode(), password=None)
        assert public_bytes(key.public_key()) == public_bytes(chain[0].public_key())
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [HOST]
        chain[0].verify_directly_issued_by(chain[1])
        assert certificate.host == HOST
        assert (certificate.begins_at, certificate.ends_at) == (
            chain[0].not_valid_before_utc,
            chain[0].not_valid_after_utc,
        )
        assert certificate.begins_at - timedelta(minutes=5) < datetime.now(UTC) < certificate.ends_at
        [answer] = self.published
        assert answer.host == HOST
        assert answer.key_authorization.startswith(f"{answer.token}.")

    async def test_account_orders_again(self, authority: CertificateAuthority, publish):
        account = await authority.new_account_key()
        first = await authority.order(HOST, account, publish)
        second = await authority.order(HOST, account, publish)
        assert first.key != second.key

    async def test_name_that_gives_no_answer_gets_no_certificate(self, authority: CertificateAuthority):
        async def forget(_answer):
            pass

        with pytest.raises(CertificateOrderError, match=HOST):
            await authority.order(HOST, await authority.new_account_key(), forget)

    async def test_error_of_publication_is_passed_on(self, authority: CertificateAuthority):
        async def fail(_answer):
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await authority.order(HOST, await authority.new_account_key(), fail)
