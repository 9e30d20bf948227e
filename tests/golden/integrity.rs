//! The fixtures are the bytes that were generated, and small enough to keep in the repository.

use crate::fixture::folder;
use sha2::{Digest, Sha256};

#[test]
fn fixtures_match_their_sums() {
    let sums = std::fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let mut total = 0;
    for line in sums.lines() {
        let (expected, name) = line.split_once("  ").unwrap();
        let bytes = std::fs::read(folder().join(name)).unwrap();
        let actual: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(actual, expected, "{name}: run fixtures/golden/generate.py and review the difference");
        total += bytes.len();
    }
    assert_eq!(sums.lines().count(), 17);
    assert!(total < 800_000, "{total} bytes");
}
