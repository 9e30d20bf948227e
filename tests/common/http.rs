//! Servers on this machine: one request on each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its query string.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            Some(line.trim_end().to_string())
        };
        let first = line()?;
        let mut words = first.split(' ').map(str::to_string);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = vec![];
        while let Some((name, value)) = line()?.split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_string()));
        }
        let mut request = Self { method, path, headers, body: vec![] };
        let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Which of `whole` bytes are asked for.
    pub fn range(&self, whole: usize) -> Range<usize> {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (from, last) = range.map_or((0, None), |(from, last)| (from.parse().unwrap(), last.parse().ok()));
        from..last.map_or(whole, |last: usize| (last + 1).min(whole))
    }
}

/// Answers each request in a thread of its own; returns the address.
pub fn serve(play: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let play = Arc::new(play);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let play = play.clone();
            std::thread::spawn(move || {
                let Some(request) = Request::read(&stream) else { return };
                play(&request, &mut stream);
            });
        }
    });
    address
}

/// Headers that say another length come in the place of the true one.
pub fn reply(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status} so\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
}
