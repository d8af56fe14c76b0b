//! An HTTP probe: one `GET` on a connection of its own; a status from 200 to 399 passes, redirects are not followed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use linkerd_harness_core::probe::Scheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::causes::one_line;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What is asked of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) scheme: Scheme,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) path: &'a str,
    pub(super) headers: &'a [(String, String)],
}

/// Asks once.
pub(super) async fn check(request: &Request<'_>, limit: Duration) -> Result<String, String> {
    let answer = async {
        let stream = TcpStream::connect((request.host, request.port)).await?;
        match request.scheme {
            Scheme::Http => get(stream, request).await,
            Scheme::Https => {
                let tls = TlsConnector::from(Arc::new(unverified()?));
                let name = ServerName::try_from(request.host.to_owned())?;
                get(tls.connect(name, stream).await?, request).await
            }
        }
    };
    match timeout(limit, answer).await {
        Ok(Ok(status)) if (200..400).contains(&status.as_u16()) => Ok(status.to_string()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(one_line(error.as_ref())),
        Err(_) => Err(format!("no answer in {} s", limit.as_secs())),
    }
}

async fn get<S>(stream: S, wanted: &Request<'_>) -> Result<hyper::StatusCode, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let Request {
        host,
        port,
        path,
        headers,
        ..
    } = wanted;
    let mut request = hyper::Request::get(*path).header(
        header::USER_AGENT,
        concat!("linkerd-proxy-harness/", env!("CARGO_PKG_VERSION")),
    );
    for (name, value) in *headers {
        request = request.header(name, value);
    }
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request = request.header(header::HOST, format!("{host}:{port}"));
    }
    let request = request
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        response = &mut answer => Ok(response?.status()),
        // The answer may have come with the end of the connection.
        ended = connection => {
            ended?;
            Ok(answer.await?.status())
        }
    }
}

/// Kubernetes does not check the certificate of an HTTPS probe, so manifests rely on it: the probe asks whether the
/// application answers, of itself, on this host.
fn unverified() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with `answer`, and tells the request heads.
    async fn mk_server(answer: &'static str) -> (u16, tokio::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, seen) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                heads
                    .send(String::from_utf8_lossy(&head[..length]).into_owned())
                    .await
                    .unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (port, seen)
    }

    fn mk_request(port: u16, headers: &[(String, String)]) -> Request<'_> {
        Request {
            scheme: Scheme::Http,
            host: "127.0.0.1",
            port,
            path: "/ready?x=1",
            headers,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_status_below_400_passes_and_others_are_told() {
        let (port, _seen) =
            mk_server("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n").await;
        assert!(check(&mk_request(port, &[]), SECOND).await.is_ok());
        let (port, _seen) =
            mk_server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        let got = check(&mk_request(port, &[]), SECOND).await.unwrap_err();
        assert_eq!(got, "503 Service Unavailable");
    }

    #[tokio::test]
    async fn headers_are_sent_and_host_may_be_replaced() {
        let (port, mut seen) = mk_server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let headers = [("Host", "app.example"), ("X-Probe", "yes")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        check(&mk_request(port, &headers), SECOND).await.unwrap();
        let head = seen.recv().await.unwrap().to_lowercase();
        assert!(head.starts_with("get /ready?x=1 http/1.1\r\n"), "{head}");
        assert!(
            head.contains("host: app.example") && head.contains("x-probe: yes"),
            "{head}"
        );
        assert_eq!(head.matches("host:").count(), 1, "{head}");
    }

    #[tokio::test]
    async fn nobody_listening_is_told_with_its_cause() {
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let got = check(&mk_request(port, &[]), SECOND).await.unwrap_err();
        assert!(got.contains("Connection refused"), "{got}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = check(&mk_request(port, &[]), Duration::from_secs(3))
            .await
            .unwrap_err();
        assert!(got.ends_with("no answer in 3 s"), "{got}");
        drop(listener);
    }
}
