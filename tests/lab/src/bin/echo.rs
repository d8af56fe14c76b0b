//! The application of the lab: answers every request with 200 and one line, and says in headers what it saw.
//!
//! `echo PORT TEXT`. Only the standard library, so that it can be linked statically and be a container of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok());
    let (Some(port), Some(text)) = (port, arguments.next()) else {
        return ExitCode::from(64);
    };
    // Both families; only IPv4 where the kernel has no other.
    let any = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
    let Ok(listener) = any else {
        return ExitCode::from(71);
    };
    for stream in listener.incoming().flatten() {
        let text = text.clone();
        // A client that goes away in the middle is its own affair.
        thread::spawn(move || drop(serve(stream, &text)));
    }
    ExitCode::SUCCESS
}

/// Serves the requests of one connection, one after the other.
fn serve(stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?.ip().to_canonical();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut request = String::new();
        let mut client = String::new();
        let mut body = 0;
        let mut close = false;
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "l5d-client-id" => value.trim().clone_into(&mut client),
                "content-length" => body = value.trim().parse().unwrap_or(0),
                "connection" => close = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        std::io::copy(
            &mut std::io::Read::take(&mut reader, body),
            &mut std::io::sink(),
        )?;
        // One write: a head and a body in two segments cost 40 ms.
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nx-seen-client-id: {client}\r\n\
             x-seen-peer: {peer}\r\n\r\n{text}\n",
            text.len() + 1
        );
        writer.write_all(answer.as_bytes())?;
        if close {
            return Ok(());
        }
    }
}
