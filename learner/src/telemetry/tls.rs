//! What a relay is known by, and what Learner is known by to it: certificates as karmor has them.

use std::fmt;
use std::path::Path;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, ClientTlsConfig};
use yasna::models::{ObjectIdentifier, TaggedDerValue};
use yasna::tags::{TAG_IA5STRING, TAG_PRINTABLESTRING, TAG_SEQUENCE, TAG_UTF8STRING};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, PCBit};

use super::relay::RelayError;

/// Where KubeArmor, and karmor, look for certificates.
pub const TLS_CERT_PATH: &str = "/var/lib/kubearmor/tls";

/// Whose name KubeArmor's certificates are made in, and those of who listens to it.
const NAME: &str = "kubearmor";

/// Where a client's certificate comes from, in karmor's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertProvider {
    /// It is made for each connection, and signed by KubeArmor's CA, whose key is at hand.
    #[serde(rename = "self")]
    Own,
    /// Somebody else has made it.
    External,
}

/// Certificates, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// Whom the relay's certificate must be signed by.
    pub ca: Vec<u8>,
    /// What Learner is known by, if the relay asks.
    pub identity: Option<Identity>,
}

/// A client's certificate, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// One that is there.
    External {
        /// The certificate.
        certificate: Vec<u8>,
        /// Its key.
        key: Vec<u8>,
    },
    /// One that is made for each connection, and signed by the CA.
    Own {
        /// The key of the CA.
        ca_key: Vec<u8>,
    },
}

impl Tls {
    /// The certificates in a directory, by the names that karmor has for them: `ca.crt`; to make one by `ca.key`; else,
    /// if the first of them is there, `client.crt` and `client.key`. Where the directory has `log/ca.crt` they are those
    /// in `log`.
    ///
    /// # Errors
    /// [`RelayError::Certificate`] names the file.
    pub fn read(directory: &Path, provider: CertProvider) -> Result<Self, RelayError> {
        let failed = |path: &Path, cause: std::io::Error| RelayError::Certificate {
            path: path.to_owned(),
            cause: cause.to_string(),
        };
        let is_there = |path: &Path| path.try_exists().map_err(|cause| failed(path, cause));
        let of_logs = directory.join("log");
        let directory = match is_there(&of_logs.join("ca.crt"))? {
            true => &of_logs,
            false => directory,
        };
        let read = |name| {
            let path = directory.join(name);
            std::fs::read(&path).map_err(|cause| failed(&path, cause))
        };
        let ca = read("ca.crt")?;
        let identity = match provider {
            CertProvider::Own => Some(Identity::Own {
                ca_key: read("ca.key")?,
            }),
            CertProvider::External if is_there(&directory.join("client.crt"))? => {
                Some(Identity::External {
                    certificate: read("client.crt")?,
                    key: read("client.key")?,
                })
            }
            CertProvider::External => None,
        };
        Ok(Self { ca, identity })
    }

    /// For a connection.
    ///
    /// # Errors
    /// [`RelayError::Signing`].
    pub(super) fn config(&self) -> Result<ClientTlsConfig, RelayError> {
        let known = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        let identity = match &self.identity {
            None => return Ok(known),
            Some(Identity::External { certificate, key }) => {
                tonic::transport::Identity::from_pem(certificate, key)
            }
            Some(Identity::Own { ca_key }) => {
                let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
                let (certificate, key) = signed(&self.ca, ca_key, today)
                    .map_err(|cause| RelayError::Signing { cause })?;
                tonic::transport::Identity::from_pem(certificate, key)
            }
        };
        Ok(known.identity(identity))
    }
}

/// Keys are not shown.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// A certificate of a client, and its key, as PEM: in KubeArmor's name, signed by its CA, and good from the day before to
/// the end of the day after, by UTC.
fn signed(ca: &[u8], ca_key: &[u8], today: Date) -> Result<(String, String), String> {
    let ca = CertificateDer::from_pem_slice(ca).map_err(|_| "the CA's certificate is no PEM")?;
    let ca_key = key_pair(ca_key)?;
    let anchor = webpki::anchor_from_trusted_cert(&ca);
    let anchor = anchor.map_err(|error| format!("the CA's certificate is none: {error}"))?;
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = name(&anchor.subject)
        .map_err(|_| "the CA has a name that cannot be written as it is written there")?;
    let issuer = Issuer::new(issuer, ca_key);
    let failed = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, NAME);
    name.push(DnType::CommonName, NAME);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let midnight = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    params.not_before = midnight(today.saturating_sub(1.day()));
    params.not_after = midnight(today.saturating_add(2.days()));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What is within a subject, as names are compared: to the byte.
fn name(within: &[u8]) -> ASN1Result<DistinguishedName> {
    let sequence =
        TaggedDerValue::from_tag_pc_and_bytes(TAG_SEQUENCE, PCBit::Constructed, within.to_vec());
    let subject = yasna::construct_der(|writer| writer.write_tagged_der(&sequence));
    let parts = yasna::parse_der(&subject, |reader| {
        reader.collect_sequence_of(|reader| {
            reader.collect_set_of(|reader| {
                reader.read_sequence(|reader| {
                    let kind = reader.next().read_oid()?;
                    Ok((kind, reader.next().read_tagged_der()?))
                })
            })
        })
    })?;
    let invalid = || ASN1Error::new(ASN1ErrorKind::Invalid);
    let mut name = DistinguishedName::new();
    for part in parts {
        let [(kind, value)] = &part[..] else {
            return Err(invalid());
        };
        let text = std::str::from_utf8(value.value()).map_err(|_| invalid())?;
        let value = match value.tag() {
            TAG_UTF8STRING => Ok(DnValue::Utf8String(text.to_owned())),
            TAG_PRINTABLESTRING => text.try_into().map(DnValue::PrintableString),
            TAG_IA5STRING => text.try_into().map(DnValue::Ia5String),
            _ => return Err(invalid()),
        };
        let kind = DnType::from_oid(kind.components());
        name.push(kind, value.map_err(|_| invalid())?);
    }
    Ok(name)
}

/// The key of a CA. KubeArmor writes its own as PKCS#1; rcgen reads PKCS#8.
fn key_pair(pem: &[u8]) -> Result<KeyPair, String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "the CA's key is no PEM")?;
    let key = match key {
        PrivateKeyDer::Pkcs1(key) => PrivateKeyDer::Pkcs8(pkcs8(key.secret_pkcs1_der()).into()),
        other => other,
    };
    let key = KeyPair::try_from(&key);
    key.map_err(|_| "the CA's key is none that can sign: neither RSA, ECDSA nor Ed25519".into())
}

/// An RSA key as RFC 5208 has it, around what RFC 8017 has.
fn pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    let rsa = ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 1, 1]);
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&rsa);
                writer.next().write_null();
            });
            writer.next().write_bytes(pkcs1);
        });
    })
}
