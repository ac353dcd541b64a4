//! TLS with real certificates, made for each test.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::tls::Files;
use super::*;

/// A folder of its own for the files of one test, which goes with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("payonce-tls-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn files(&self) -> Files {
        Files { cert: self.0.join("cert.pem"), key: self.0.join("key.pem") }
    }

    /// Writes a new certificate with its key.
    fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        write(&self.files().key, &signing_key.serialize_pem());
        write(&self.files().cert, &cert.pem());
        cert.der().clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Replaces the file at once, as whoever renews certificates should.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

async fn connect(
    served: &Served,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(served.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_http2_where_the_client_has_it() {
    let folder = Folder::new();
    let cert = folder.renew();
    let served = served_over(Some(Tls::read(folder.files()).unwrap()), PATIENT).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect(&served, &cert, &[version], &["http/1.1"]).await.unwrap();
        client.write_all(GET.as_bytes()).await.unwrap();
        let mut some = [0; 1024];
        let read = client.read(&mut some).await.unwrap();
        assert!(some[..read].starts_with(b"HTTP/1.1 200"));

        let client = connect(&served, &cert, &[version], &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/").body(Full::<Bytes>::default()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn plain_http_is_told_to_come_by_tls_and_is_not_served() {
    let folder = Folder::new();
    folder.renew();
    let served = served_over(Some(Tls::read(folder.files()).unwrap()), PATIENT).await;

    for plain in [GET, "POST /held HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = served.client(plain).await;
        let told = to_its_end(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("tls_required"), "{told}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_in_the_time_of_a_head() {
    let folder = Folder::new();
    folder.renew();
    let tls = Tls::read(folder.files()).unwrap();
    let served = served_over(Some(tls), Limits { head: SHORT, ..PATIENT }).await;
    for half in ["", "\u{16}\u{3}\u{1}"] {
        let mut client = served.client(half).await;
        assert_eq!(to_its_end(&mut client).await, "");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_one_that_cannot_be_used_replaces_nothing() {
    let folder = Folder::new();
    let first = folder.renew();
    let text = std::fs::read_to_string(folder.files().cert).unwrap();
    let tls = Tls::read(folder.files()).unwrap();
    let served = served_over(Some(tls.clone()), PATIENT).await;
    let shows = async |cert: &CertificateDer<'static>| {
        connect(&served, cert, rustls::ALL_VERSIONS, &[]).await.is_ok()
    };
    assert!(shows(&first).await);

    write(&folder.files().cert, "no certificate");
    tls.look();
    assert!(shows(&first).await, "what is no certificate replaced one");
    let other = folder.renew();
    write(&folder.files().cert, &text);
    tls.look();
    assert!(shows(&first).await, "a key of another certificate was taken");
    std::fs::remove_file(folder.files().key).unwrap();
    tls.look();
    assert!(shows(&first).await, "a file that is gone took the certificate with it");
    let second = folder.renew();
    tls.look();

    assert!(shows(&second).await && !shows(&first).await && !shows(&other).await);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_by_their_variable_and_no_key_is_repeated() {
    let folder = Folder::new();
    folder.renew();
    let files = folder.files();
    let secret = std::fs::read_to_string(&files.key).unwrap();
    let refusal = |files: &Files| Tls::read(files.clone()).unwrap_err().to_string();

    write(&files.cert, "nothing");
    let said = refusal(&files);
    assert!(said.starts_with("TLS_CERT_FILE") && said.contains("holds no certificate"), "{said}");
    folder.renew();
    write(&files.key, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    let said = refusal(&files);
    assert!(said.starts_with("TLS_KEY_FILE") && !said.contains("c2VjcmV0"), "{said}");
    write(&files.key, &secret);
    let said = refusal(&files);
    assert!(said.starts_with("TLS_KEY_FILE") && said.contains("is not the key"), "{said}");
    std::fs::remove_file(&files.key).unwrap();
    assert!(refusal(&files).starts_with("TLS_KEY_FILE"), "{}", refusal(&files));
    std::fs::remove_file(&files.cert).unwrap();
    assert!(refusal(&files).starts_with("TLS_CERT_FILE"), "{}", refusal(&files));
}
