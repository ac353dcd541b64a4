//! TLS 1.2 and 1.3 for a listener, with a certificate that is read anew when its files change.
//!
//! Invariant: what cannot be read, or does not belong together, replaces nothing. The key is never shown.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::socket::Socket;
use crate::platform::config::InvalidSetting;

/// The name of the variable with the file of the certificate chain.
const CERT: &str = "TLS_CERT_FILE";

/// The name of the variable with the file of the key.
const KEY: &str = "TLS_KEY_FILE";

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The first byte of a handshake (RFC 8446, section 5.1). No method of HTTP begins with it.
const HANDSHAKE: u8 = 22;

/// A connection over TLS.
pub(super) type Stream = TlsStream<Socket>;

/// The files of a certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

/// The certificate that is shown, and what was seen last in the files.
struct Current {
    files: Files,
    shown: RwLock<Arc<CertifiedKey>>,
    /// None where they could not be read.
    seen: Mutex<Option<Held>>,
}

/// What both files hold.
#[derive(PartialEq, Eq)]
struct Held {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// A file cannot be read, or holds no certificate or key, or the key is another certificate's. The error
    /// names the variable of the file.
    pub fn read(files: Files) -> Result<Self, InvalidSetting> {
        let provider = Arc::new(ring::default_provider());
        let held = files.held()?;
        let shown = RwLock::new(Arc::new(files.certified(&held, &provider)?));
        let current = Arc::new(Current { files, shown, seen: Mutex::new(Some(held)) });
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|why| InvalidSetting::new(CERT, why))?;
        let mut config = config.with_no_client_auth().with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Reads the files anew whenever they changed, until `shutdown`. A certificate that cannot be used is
    /// logged once, and the one before it stays.
    pub async fn keep_current(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => self.look(),
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Takes what the files hold, where that is not what was seen in them last.
    pub(super) fn look(&self) {
        self.current.look(&ring::default_provider());
    }

    /// Shakes hands with a client.
    pub(super) async fn handshake(&self, socket: Socket) -> io::Result<Stream> {
        self.acceptor.accept(socket).await
    }
}

impl Current {
    /// Takes what the files hold, where that is not what was seen in them last.
    fn look(&self, provider: &CryptoProvider) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let held = match self.files.held() {
            Ok(held) if seen.as_ref() == Some(&held) => return,
            Ok(held) => held,
            Err(why) => {
                if seen.take().is_some() {
                    tracing::error!(%why, "the certificate cannot be read anew; the one before it stays");
                }
                return;
            }
        };
        match self.files.certified(&held, provider) {
            Ok(read) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                tracing::info!(file = %self.files.cert.display(), "the certificate was read anew");
            }
            Err(why) => tracing::error!(%why, "the new certificate cannot be used; the one before it stays"),
        }
        *seen = Some(held);
    }
}

impl Files {
    fn held(&self) -> Result<Held, InvalidSetting> {
        let read = |name, path: &PathBuf| {
            std::fs::read(path).map_err(|why| {
                InvalidSetting::new(name, format_args!("cannot read {}: {why}", path.display()))
            })
        };
        Ok(Held { cert: read(CERT, &self.cert)?, key: read(KEY, &self.key)? })
    }

    /// The certificate and the key that the files hold, which belong together.
    fn certified(&self, held: &Held, provider: &CryptoProvider) -> Result<CertifiedKey, InvalidSetting> {
        let cert = |why: &dyn fmt::Display| {
            InvalidSetting::new(CERT, format_args!("{}: {why}", self.cert.display()))
        };
        // What a parser says of a key is not repeated: it may hold some of it.
        let key = |why| InvalidSetting::new(KEY, format_args!("{}: {why}", self.key.display()));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&held.cert)
            .collect::<Result<_, _>>()
            .map_err(|why| cert(&format_args!("is no PEM file: {why}")))?;
        if chain.is_empty() {
            return Err(cert(&"holds no certificate"));
        }
        let secret =
            PrivateKeyDer::from_pem_slice(&held.key).map_err(|_| key("holds no private key in PEM"))?;
        let signs = provider.key_provider.load_private_key(secret);
        let signs =
            signs.map_err(|_| key("holds a key of a kind that is not known: use ECDSA, Ed25519 or RSA"))?;
        let certified = CertifiedKey::new(chain, signs);
        match certified.keys_match() {
            Ok(()) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => Err(key("is not the key of the certificate")),
            Err(why) => Err(cert(&format_args!("holds a certificate that cannot be used: {why}"))),
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.current.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Whether the client's first byte begins a handshake. It is not taken from the connection.
pub(super) async fn begins(stream: &TcpStream) -> bool {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) | Err(_) => true,
        Ok(_) => first[0] == HANDSHAKE,
    }
}
