//! A TCP probe: a connection that comes about passes, and is closed at once.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Asks once.
pub(super) async fn check(host: &str, port: u16, limit: Duration) -> Result<String, String> {
    match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok("connected".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_port_that_takes_connections_passes_and_a_closed_one_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(
            check("127.0.0.1", port, SECOND).await,
            Ok("connected".to_owned())
        );
        assert!(check("localhost", port, SECOND).await.is_ok());
        drop(listener);
        // A child that another test makes meanwhile has the listener until it runs its program.
        let refused = timeout(SECOND * 10, async {
            loop {
                match check("127.0.0.1", port, SECOND).await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(refused) => return refused,
                }
            }
        });
        let refused = refused.await.unwrap();
        assert!(refused.contains("Connection refused"), "{refused}");
    }

    /// A listener whose backlog is full drops what comes, as a firewall does.
    #[tokio::test]
    async fn a_port_that_says_nothing_fails_at_the_timeout() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) = timeout(SECOND / 4, TcpStream::connect(address)).await {
            held.push(stream);
            assert!(held.len() < 64, "the backlog never fills");
        }
        let silent = check("127.0.0.1", address.port(), SECOND)
            .await
            .unwrap_err();
        assert_eq!(silent, "no answer in 1 s");
    }
}
