//! TLS to ClickHouse and to the targets: whom we trust, and who we say we are.
//!
//! Without settings the system's certificate authorities are trusted. With a CA of one's own only
//! that one is: a certificate that any public authority signed for the same name is then refused.
//! There is no switch to turn verification off.

use anyhow::Context;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates of the only authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, with intermediate ones after it.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl TlsSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == TlsSettings::default()
    }

    /// Reads the files. The error names the file and never shows what is in it.
    pub fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("prepare TLS")?
            .with_root_certificates(self.roots()?);
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            anyhow::ensure!(
                self.certificate.is_none() && self.key.is_none(),
                "`tls.certificate` and `tls.key` belong together: set both or none"
            );
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(certificate)?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| anyhow::anyhow!("no private key can be read from {}: {error}", key.display()))?;
        builder.with_client_auth_cert(chain, private).map_err(|error| {
            anyhow::anyhow!("{} and {} do not go together: {error}", certificate.display(), key.display())
        })
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            anyhow::ensure!(
                !roots.is_empty(),
                "no CA certificates are found on this machine: install `ca-certificates`, or set `tls.ca`"
            );
            return Ok(roots);
        };
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| {
                anyhow::anyhow!("{} holds no usable CA certificate: {error}", ca.display())
            })?;
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = |error| anyhow::anyhow!("no certificate can be read from {}: {error}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let found = found.map_err(unreadable)?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate in PEM form", path.display());
    Ok(found)
}
