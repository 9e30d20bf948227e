//! No room uses one above it: `tests/rooms.toml` has the floors.

use regex::Regex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rooms {
    floors: Vec<Vec<String>>,
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}

/// Which other rooms a text names, outside of comments and of its unit tests.
fn used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let one = Regex::new(r"\b(?:crate|lpc)::(\w+)").unwrap();
    let several = Regex::new(r"\buse (?:crate|lpc)::\{((?:[^{}]|\{[^{}]*\})*)\}").unwrap();
    let first = Regex::new(r"(?:^|,)\s*(\w+)").unwrap();
    let inner = Regex::new(r"\{[^{}]*\}").unwrap();
    let of_lists = several.captures_iter(&code).flat_map(|list| {
        let flat = inner.replace_all(&list[1], "").into_owned();
        first.captures_iter(&flat).map(|name| name[1].to_string()).collect::<Vec<_>>()
    });
    // Types of the crate's root begin with a capital letter, macros stand in the root, too.
    one.captures_iter(&code)
        .map(|name| name[1].to_string())
        .chain(of_lists)
        .filter(|name| name.starts_with(char::is_lowercase) && name != "self")
        .collect()
}

#[test]
fn no_room_uses_one_above_it() {
    let Rooms { floors } = toml::from_str(include_str!("../rooms.toml")).unwrap();
    let floor: BTreeMap<&str, usize> = floors
        .iter()
        .enumerate()
        .flat_map(|(height, rooms)| rooms.iter().map(move |room| (room.as_str(), height)))
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    let (mut upward, mut seen) = (vec![], BTreeSet::new());
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_string();
        if room == "lib" {
            continue;
        }
        let own = *floor.get(room.as_str()).unwrap_or_else(|| panic!("{room} is on no floor"));
        for other in used(&fs::read_to_string(&file).unwrap()) {
            let Some(&height) = floor.get(other.as_str()) else { panic!("{}: {other}?", inside.display()) };
            if other != room && height >= own {
                upward.push(format!("{} uses {other}", inside.display()));
            }
        }
        seen.insert(room);
    }
    assert!(upward.is_empty(), "upward:\n{}", upward.join("\n"));
    assert_eq!(seen, floor.keys().map(|room| room.to_string()).collect(), "rooms that are not there");
}

/// That a glance at a file would find them.
#[test]
fn uses_are_found() {
    let text = "//! [`crate::cli`]\nuse crate::data::pairs;\nuse crate::{Error, eval, model::{load, save}};\n\
                fn f() { crate::seed::of() }\n#[cfg(test)]\nmod tests { use crate::audit; }";
    assert_eq!(used(text), ["data", "eval", "model", "seed"].map(String::from).into());
}
