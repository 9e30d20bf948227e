use crate::message::message;
use flate2::Compression;
use flate2::write::GzEncoder;
use lpc::config::EmptyCompletion;
use lpc::data::pairs::{LeftOut, Pair, PairReader, Pairs, read};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn parse(bytes: &[u8]) -> lpc::Result<Pairs> {
    let (_folder, path) = file("pairs.jsonl", bytes);
    read(&path, None, EmptyCompletion::Refuse)
}

fn pair(id: &str, source: &str, prompt: &str, chosen: &str, rejected: &str) -> Pair {
    Pair { id: id.into(), source: source.into(), ..Pair::of_texts(prompt, chosen, rejected) }
}

#[test]
fn what_people_write() {
    let text = "\u{feff}{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\", \"score_chosen\": 7.5}\r\n\
                {\"id\": \"x\", \"source\": \"s\", \"rejected\": \"same\", \"chosen\": \"same\", \"prompt\": \"é\\n\"}\r\n\
                \r\n\
                {\"id\": 12, \"source\": null, \"prompt\": \"\", \"chosen\": \" \", \"rejected\": \"b\"}\n\n";
    let pairs = parse(text.as_bytes()).unwrap();
    let expected =
        [pair("1", "", "p", "c", "r"), pair("x", "s", "é\n", "same", "same"), pair("12", "", "", " ", "b")];
    assert_eq!(pairs.pairs, expected);
    assert_eq!((pairs.identical, pairs.left_out), (1, vec![]));
    assert_eq!(parse(b"").unwrap().pairs, []);
    let no_newline = parse(br#"{"prompt": "p", "chosen": "c", "rejected": "r"}"#).unwrap();
    assert_eq!(no_newline.pairs, [pair("1", "", "p", "c", "r")]);
}

#[test]
fn faults_name_file_line_and_field() {
    let good = r#"{"prompt": "p", "chosen": "c", "rejected": "r"}"#;
    let cases: [(&[u8], &str); 16] = [
        (br#"{"prompt": "p", "chosen": "c"}"#, "field `rejected`: expected a string, got nothing"),
        (
            br#"{"chosen": "c", "rejected": "r"}"#,
            "field `prompt`: expected a string, or chosen and rejected that begin with it, got nothing",
        ),
        (
            br#"{"prompt": 1, "chosen": "c", "rejected": "r"}"#,
            "field `prompt`: expected text or messages, got a number",
        ),
        (
            br#"{"prompt": "p", "chosen": [{"role": "x"}], "rejected": "r"}"#,
            "field `chosen`: expected a string, got an array",
        ),
        (
            br#"{"prompt": "p", "chosen": {}, "rejected": "r"}"#,
            "field `chosen`: expected a string, got an object",
        ),
        (
            br#"{"prompt": "p", "chosen": "c", "rejected": null}"#,
            "field `rejected`: expected a string, got nothing",
        ),
        (
            br#"{"prompt": "p", "chosen": true, "rejected": "r"}"#,
            "field `chosen`: expected a string, got a boolean",
        ),
        (
            br#"{"prompt": "p", "chosen": "", "rejected": "r"}"#,
            "field `chosen`: expected a non-empty string, got an empty one",
        ),
        (
            br#"{"prompt": "p", "chosen": "c", "rejected": ""}"#,
            "field `rejected`: expected a non-empty string, got an empty one",
        ),
        (
            br#"{"id": [], "prompt": "p", "chosen": "c", "rejected": "r"}"#,
            "field `id`: expected a string, got an array",
        ),
        (
            br#"{"source": 3, "prompt": "p", "chosen": "c", "rejected": "r"}"#,
            "field `source`: expected a string, got a number",
        ),
        (b"[1, 2]", "expected a JSON object"),
        (b"{\"prompt\": \"p\"", "expected a JSON object"),
        (b"{\"prompt\": \"p\xff\"}", "expected UTF-8"),
        ("[".repeat(100_000).leak().as_bytes(), "expected a JSON object"),
        (b"nonsense", "expected a JSON object"),
    ];
    for (line, expected) in cases {
        let text = [good.as_bytes(), b"\n\n", line, b"\n"].concat();
        let message = message(parse(&text));
        assert!(message.contains("pairs.jsonl:3: ") && message.contains(expected), "{message}\n{expected}");
    }
    assert!(
        message(read(&PathBuf::from("none.jsonl"), None, EmptyCompletion::Refuse)).contains("none.jsonl: ")
    );
}

#[test]
fn empty_completions_can_be_left_out() {
    let text = "{\"prompt\":\"p\",\"chosen\":\"\",\"rejected\":\"r\"}\n{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\n";
    let (_folder, path) = file("pairs.jsonl", text.as_bytes());
    let pairs = read(&path, Some(1), EmptyCompletion::LeaveOut).unwrap();
    assert_eq!(
        (pairs.pairs, pairs.left_out),
        (vec![pair("2", "", "p", "c", "r")], vec![(1, LeftOut::EmptyCompletion)])
    );
}

#[test]
fn limit_streams_and_faults_end_the_stream() {
    let text = "{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\n{}\n{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\n";
    let (_folder, path) = file("pairs.jsonl", text.as_bytes());
    assert_eq!(read(&path, Some(1), EmptyCompletion::Refuse).unwrap().pairs.len(), 1);
    assert_eq!(read(&path, Some(0), EmptyCompletion::Refuse).unwrap().pairs.len(), 0);
    let items: Vec<bool> =
        PairReader::open(&[path], EmptyCompletion::Refuse).unwrap().map(|p| p.is_ok()).collect();
    assert_eq!(items, [true, false]);
}

#[test]
fn compressed_files() {
    let text = "{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\n".as_bytes();
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    // Files put together with `cat` have several members.
    let second = br#"{"prompt":"q","chosen":"c","rejected":"r"}"#;
    let members = [gzip(text), gzip(second)].concat();
    let (_folder, path) = file("pairs.jsonl.gz", &members);
    assert_eq!(read(&path, None, EmptyCompletion::Refuse).unwrap().pairs.len(), 2);
    let (_folder, path) = file("pairs.jsonl.gz", &members[..members.len() - 20]);
    assert!(
        message(read(&path, None, EmptyCompletion::Refuse))
            .contains("pairs.jsonl.gz:2: expected readable bytes")
    );
    let (_folder, path) = file("pairs.jsonl.gz", text);
    assert!(message(read(&path, None, EmptyCompletion::Refuse)).contains("readable bytes"));
    let (_folder, path) = file("bomb.jsonl.gz", &gzip(&vec![b'x'; 64 << 20]));
    assert!(message(read(&path, None, EmptyCompletion::Refuse)).contains("a line of at most 16 MiB"));
}
