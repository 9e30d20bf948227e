//! A hub that lies, stands still, sends too much or sends elsewhere.

use crate::http::{COMMIT, Request, reply};
use crate::server::{Server, etag, load, model};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Play = Box<dyn Fn(&Request, &mut TcpStream) -> bool + Send + Sync>;

/// What comes of a hub that answers for `end` of a path with `status`, these headers and this body.
fn said(
    model: &Path,
    end: &'static str,
    status: u16,
    headers: &[(&'static str, &str)],
    body: &'static [u8],
) -> String {
    let headers: Vec<(&str, String)> = headers.iter().map(|(k, v)| (*k, v.to_string())).collect();
    load_from(model, move |request, stream| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        request.path.ends_with(end) && {
            reply(stream, status, &headers, body);
            true
        }
    })
}

fn load_from(
    model: &Path,
    play: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> String {
    let home = tempfile::tempdir().unwrap();
    let hub = Server::hub(model.into(), play);
    load(&[
        ("HF_ENDPOINT", &hub.address),
        ("HF_HOME", home.path().to_str().unwrap()),
        ("HF_TOKEN", "secret"),
        ("HF_HUB_ETAG_TIMEOUT", "2"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "1"),
    ])
}

#[test]
fn names_that_lead_out_of_the_cache() {
    let (model, _) = model();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "precious").unwrap();
    let absolute = format!("\"{}\"", target.display());
    let commit = ("X-Repo-Commit", COMMIT);
    for tag in [&absolute, "\"../../../out\"", "\"..\"", "\"a/b\"", "\"\"", "\".hidden\""] {
        for name in ["ETag", "X-Linked-Etag"] {
            let line = said(model.path(), "/config.json", 200, &[(name, tag), commit], b"{}");
            assert!(
                line.contains("org/tiny@v1/config.json: expected a file of commit 0123"),
                "{tag}: {line}"
            );
        }
    }
    let elsewhere = outside.path().join("commit");
    for wrong in [elsewhere.to_str().unwrap(), "../../../out", "89abcdef"] {
        let headers = [("ETag", "\"a\""), ("X-Repo-Commit", wrong)];
        let line = said(model.path(), "/config.json", 200, &headers, b"{}");
        assert!(line.contains("/config.json: expected a file of commit 0123"), "{wrong}: {line}");
    }
    let sha =
        serde_json::json!({ "sha": "../../x", "siblings": [{ "rfilename": "config.json" }] }).to_string();
    let line = said(model.path(), "/revision/v1", 200, &[], sha.leak().as_bytes());
    assert!(line.contains("expected a commit from the hub, got ../../x"), "{line}");
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

/// Only the first answer is looked at, or else the later ones are held against it.
#[test]
fn a_second_answer_that_differs() {
    let (model, fingerprint) = model();
    let outside = tempfile::tempdir().unwrap();
    let absolute = format!("\"{}/x\"", outside.path().display());
    let weights = fs::read(model.path().join("model.safetensors")).unwrap();
    let (half, tag) = (weights.len() / 2, etag("model.safetensors", &weights));
    for (second, commit, expected) in [
        (tag.as_str(), COMMIT, fingerprint.as_str()),
        (&absolute, COMMIT, "model.safetensors: expected a file of commit 0123"),
        ("\"other\"", COMMIT, "model.safetensors: expected the same file as before"),
        (&tag, "../../../x", "model.safetensors: expected a file of commit 0123"),
    ] {
        let (weights, tag) = (weights.clone(), tag.clone());
        let (second, commit) = (second.to_string(), commit.to_string());
        let line = load_from(model.path(), move |request, stream| {
            if !request.path.ends_with("model.safetensors") {
                return false;
            }
            let length = weights.len().to_string();
            if request.header("range").is_none() {
                let headers =
                    [("ETag", tag.as_str()), ("X-Repo-Commit", COMMIT), ("Content-Length", &length)];
                reply(stream, 200, &headers, &weights[..half]);
            } else {
                assert_eq!(request.header("range"), Some(format!("bytes={half}-").as_str()));
                let range = format!("bytes {half}-{}/{length}", weights.len() - 1);
                let headers =
                    [("ETag", second.as_str()), ("X-Repo-Commit", &commit), ("Content-Range", &range)];
                reply(stream, 206, &headers, &weights[half..]);
            }
            true
        });
        assert!(line.contains(expected), "{line}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn links_in_the_cache_that_lead_out() {
    let (model, fingerprint) = model();
    let hub = Server::hub(model.path().into(), |_, _| false);
    let weights = fs::read(model.path().join("model.safetensors")).unwrap();
    let tag = etag("", b"").replace('"', "");
    let sha256 = etag("model.safetensors", &weights).replace('"', "");
    let folder = "hub/models--org--tiny";
    let snapshot = format!("{folder}/snapshots/{COMMIT}");
    // A link, and whether its place is a folder's.
    for (link, is_folder) in [
        (folder.to_string(), true),
        (format!("{folder}/blobs"), true),
        (format!("{folder}/snapshots"), true),
        (snapshot.clone(), true),
        ("hub/.locks".into(), true),
        (format!("{folder}/blobs/{sha256}"), false),
        (format!("{folder}/blobs/{sha256}.incomplete"), false),
        (format!("{folder}/blobs/{tag}config.json.incomplete"), false),
        (format!("{folder}/refs/v1"), false),
        (format!("hub/.locks/models--org--tiny/{sha256}.lock"), false),
    ] {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = home.path().join(&link);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let target = if is_folder { outside.path().into() } else { outside.path().join("target") };
        if !is_folder {
            fs::write(&target, "precious").unwrap();
        }
        std::os::unix::fs::symlink(&target, &place).unwrap();
        let line = load(&[("HF_ENDPOINT", &hub.address), ("HF_HOME", home.path().to_str().unwrap())]);
        if is_folder {
            assert!(
                line.contains("expected a folder inside the hub's cache, got a link to"),
                "{link}: {line}"
            );
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{link}");
        } else {
            assert!(line.starts_with(&fingerprint), "{link}: {line}");
            assert_eq!(fs::read(&target).unwrap(), b"precious", "{link}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{link}");
        }
    }
}

#[test]
fn the_token_stays_with_the_hub() {
    let (model, fingerprint) = model();
    let weights = fs::read(model.path().join("model.safetensors")).unwrap();
    let served = weights.clone();
    // Sends back to the hub once: that is no longer the hub's own idea.
    let back = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let hub_address = back.clone();
    let storage = Server::new(move |request, stream| match request.path.as_str() {
        "/back" => {
            let place = format!("{}/returned", hub_address.lock().unwrap());
            reply(stream, 302, &[("Location", &place)], b"");
        }
        _ => reply(stream, 200, &[], &served),
    });
    for path in ["/weights", "/back"] {
        let place = format!("{}{path}", storage.address);
        let (tag, bytes) = (etag("model.safetensors", &weights), weights.clone());
        let hub = Server::hub(model.path().into(), move |request, stream| {
            if request.path.ends_with("/model.safetensors") {
                let headers =
                    [("Location", place.as_str()), ("X-Linked-Etag", &tag), ("X-Repo-Commit", COMMIT)];
                reply(stream, 302, &headers, b"");
                true
            } else if request.path == "/returned" {
                reply(stream, 200, &[], &bytes);
                true
            } else {
                false
            }
        });
        *back.lock().unwrap() = hub.address.clone();
        let home = tempfile::tempdir().unwrap();
        let variables = [
            ("HF_ENDPOINT", hub.address.as_str()),
            ("HF_HOME", home.path().to_str().unwrap()),
            ("HF_TOKEN", "secret"),
        ];
        assert!(load(&variables).starts_with(&fingerprint), "{path}");
        let elsewhere = storage.requests();
        assert_eq!(elsewhere.len(), 1);
        assert!(elsewhere.iter().all(|request| request.token().is_none()), "{path}");
        for request in hub.requests() {
            let own = request.path != "/returned";
            assert_eq!(request.token().is_some(), own, "{}", request.path);
        }
    }
    // The list of files is the hub's own affair.
    let place = format!("{}/list", storage.address);
    let line = said(model.path(), "/revision/v1", 302, &[("Location", &place)], b"");
    assert!(line.contains(&format!("got a redirect to {}", storage.address)), "{line}");
    assert_eq!(storage.requests().len(), 0);
    // A server may repeat what it was sent.
    let line = said(model.path(), "/revision/v1", 403, &[("X-Error-Message", "not for secret")], b"");
    assert!(line.contains("HTTP 403: not for [token]"), "{line}");
}

#[test]
fn redirects_that_lead_nowhere() {
    let (model, _) = model();
    for (place, expected) in [
        ("", "HTTP 302 to nowhere"),
        ("/org/tiny/resolve/loop/config.json", "more than 10 redirects"),
        ("file:///etc/passwd", "got the address file:///etc/passwd"),
        ("javascript:x", "got the address javascript:x"),
        ("http://user:password@127.0.0.1:9/", "got the address http://user:password@127.0.0.1:9/"),
        ("http://", "got the address http://"),
    ] {
        let headers: &[_] = if place.is_empty() { &[] } else { &[("Location", place)] };
        for end in ["/config.json", "/revision/v1"] {
            if end == "/revision/v1" && place.contains("loop") {
                continue;
            }
            let line = said(model.path(), end, 302, headers, b"");
            assert!(line.contains(expected), "{end} to {place}: {line}");
        }
    }
    let own =
        said(model.path(), "/revision/v1", 302, &[("Location", "/api/models/org/tiny/revision/v1")], b"");
    assert!(own.contains("more than 10 redirects"), "{own}");
}

/// Each way of standing still ends within a few of the seconds that the environment allows.
#[test]
fn servers_that_stand_still() {
    let (model, _) = model();
    let mute: Play = Box::new(|request, _| {
        request.path.ends_with("/revision/v1") && {
            std::thread::sleep(Duration::from_secs(60));
            true
        }
    });
    let drips: Play = Box::new(|request, stream| {
        request.path.ends_with("/revision/v1") && {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(200));
            }
            true
        }
    });
    let stalls: Play = Box::new(|request, stream| {
        request.path.ends_with("/config.json") && {
            let headers = [("ETag", "\"a\""), ("X-Repo-Commit", COMMIT), ("Content-Length", "100000")];
            reply(stream, 200, &headers, b"{");
            std::thread::sleep(Duration::from_secs(60));
            true
        }
    });
    for (name, play, expected, most) in [
        ("mute", mute, "the list of files from the hub, got timeout", 10),
        ("drips", drips, "the list of files from the hub, got only ", 10),
        ("stalls", stalls, "config.json: expected 100000 bytes from the hub, got 1 (timeout", 40),
    ] {
        let begin = Instant::now();
        let line = load_from(model.path(), play);
        assert!(line.contains(expected), "{name}: {line}");
        assert!(begin.elapsed() < Duration::from_secs(most), "{name}: {:?}", begin.elapsed());
    }
}

#[test]
fn more_bytes_than_anybody_asked_for() {
    let (model, _) = model();
    // A list that unpacks to 40 MB, from 40 kB.
    let mut packed = GzEncoder::new(vec![], Compression::best());
    packed.write_all(&vec![b' '; 40 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 100_000);
    let line = said(model.path(), "/revision/v1", 200, &[("Content-Encoding", "gzip")], packed.leak());
    assert!(line.contains("got an answer of more than 33554432 bytes"), "{line}");
    let small = br#"{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": []}"#;
    let mut packed = GzEncoder::new(vec![], Compression::best());
    packed.write_all(small).unwrap();
    let headers = [("Content-Encoding", "gzip")];
    let line = said(model.path(), "/revision/v1", 200, &headers, packed.finish().unwrap().leak());
    assert!(line.contains("expected a model with config.json, got 0 files without"), "{line}");

    let named = [("ETag", "\"a\""), ("X-Repo-Commit", COMMIT)];
    let linked = [named[0], named[1], ("X-Linked-Size", "10")];
    let line = said(model.path(), "/config.json", 200, &linked, b"{\"longer\": \"than that\"}");
    assert!(line.contains("config.json: expected at most 10 bytes from the hub, got more"), "{line}");
    let huge = [named[0], named[1], ("X-Linked-Size", "99999999999999")];
    let line = said(model.path(), "/config.json", 200, &huge, b"{}");
    assert!(line.contains("config.json: expected at most 268435456 bytes"), "{line}");
    // Without any length, as long as it comes.
    let endless = AtomicBool::new(false);
    let line = load_from(model.path(), move |request, stream| {
        request.path.ends_with("/config.json") && {
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"a\"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            let block = vec![b' '; 1 << 20];
            while stream.write_all(&block).is_ok() {}
            endless.store(true, Ordering::SeqCst);
            true
        }
    });
    assert!(line.contains("config.json: expected at most 268435456 bytes from the hub, got more"), "{line}");
}
