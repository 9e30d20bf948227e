//! Addresses: whose they are, where they lead.

use ureq::http::Uri;

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String, String, u16);

impl Origin {
    /// Of an address with http or https, a host, and nobody's name and password.
    pub fn of(address: &Uri) -> Option<Self> {
        let scheme = address.scheme_str()?.to_ascii_lowercase();
        let port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = address.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        let plain = !address.authority()?.as_str().contains('@');
        plain.then(|| Self(scheme, host, address.port_u16().unwrap_or(port)))
    }

    pub fn is_secure(&self) -> bool {
        self.0 == "https"
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.0, self.1, self.2)
    }
}

/// Where `place`, as an answer from `address` has it, leads.
pub fn join(address: &Uri, place: &str) -> Option<String> {
    let place = place.split('#').next().unwrap_or_default();
    let (scheme, authority) = (address.scheme_str()?, address.authority()?);
    let has_scheme = place.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
    Some(if has_scheme {
        place.into()
    } else if place.starts_with("//") {
        format!("{scheme}:{place}")
    } else if place.is_empty() || place.starts_with('?') {
        format!("{scheme}://{authority}{}{place}", address.path())
    } else {
        let (path, query) = place.split_at(place.find('?').unwrap_or(place.len()));
        let folder = address.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if path.starts_with('/') { path.into() } else { format!("{folder}/{path}") };
        format!("{scheme}://{authority}{}{query}", without_dots(&path))
    })
}

/// A path without `.` and `..`, as far as there is a folder to leave.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        parts.push("");
    }
    format!("/{}", parts.join("/"))
}

/// As a part of an address; `/` stays where it divides.
pub fn quoted(text: &str, divided: bool) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || (divided && b == b'/');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
