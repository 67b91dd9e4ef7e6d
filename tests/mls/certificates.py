"""An authority for the tests: X.509 certificates for the signature keys of leaves."""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import NameOID

from mlsrtc.mls import SigningKey

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey

CURVES: dict[int, type[ec.EllipticCurve]] = {2: ec.SECP256R1, 5: ec.SECP521R1, 7: ec.SECP384R1}
"""Of the suites with ECDSA (RFC 9420 section 17.1); the others sign with Ed25519."""

BEGIN, END = 1_700_000_000, 1_900_000_000
"""When certificates are valid, unless a test says otherwise: seconds since 1970."""


def private_key(key: SigningKey) -> Private:
    """The key pair of a leaf, for `cryptography`."""
    secret = key.save().expose()
    if key.suite in CURVES:
        return ec.derive_private_key(int.from_bytes(secret), CURVES[key.suite]())
    return ed25519.Ed25519PrivateKey.from_private_bytes(secret[:32])


def distinguished(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


@dataclass(frozen=True)
class Authority:
    name: str
    key: Private
    certificate: bytes

    def issue(
        self,
        name: str,
        key: Private,
        *,
        authority: bool = False,
        begin: int = BEGIN,
        end: int = END,
        flip: bool = False,
    ) -> bytes:
        """A certificate in DER. flip: its signature does not hold."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(distinguished(name))
            .issuer_name(distinguished(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime.fromtimestamp(begin, datetime.UTC))
            .not_valid_after(datetime.datetime.fromtimestamp(end, datetime.UTC))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if authority:
            usage = x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(usage, critical=True)
        digest = hashes.SHA256() if isinstance(self.key, ec.EllipticCurvePrivateKey) else None
        made = builder.sign(self.key, digest).public_bytes(serialization.Encoding.DER)
        return made[:-1] + bytes([made[-1] ^ 1]) if flip else made


def root(name: str = "Root") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    own = Authority(name, key, b"")
    return Authority(name, key, own.issue(name, key, authority=True))


def below(parent: Authority, name: str = "Middle") -> Authority:
    key = ed25519.Ed25519PrivateKey.generate()
    return Authority(name, key, parent.issue(name, key, authority=True))
